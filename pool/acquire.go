package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Acquire gets a connection for the caller alone. It waits, first come first served, until a connection is free. If ctx ends before that, the error
// is an [*AcquireError]; if the scope has ended, the error is [ErrInvocationEnded]. [Lease.Release] gives the connection back. For a single statement
// use the pool's own methods, which hold a connection for a shorter time.
func (p *Pool) Acquire(ctx context.Context) (*Lease, error) {
	var at gostack.Site
	at.Capture(1, 5) // fewer frames than Deep, since each frame costs time
	return p.acquireAt(ctx, &at)
}

// acquireAt is Acquire for a caller at the place at.
func (p *Pool) acquireAt(ctx context.Context, at *gostack.Site) (*Lease, error) {
	if c, err := p.on().own(ctx); err != nil {
		return nil, err
	} else if c != nil {
		return leaseOf(c), nil
	}
	return p.obtain(ctx, &Lease{p: p, what: kindLease, stack: *at}, -1)
}

// leaseOf returns a lease that runs on c, which is pgxpool's. It is used with Config.Plain.
func leaseOf(c lent) *Lease { return &Lease{lent: c} }

func (p pooled) own(context.Context) (*pgxpool.Conn, error) { return nil, nil }

// AcquireFunc acquires a lease, runs f with it, and releases the lease even if f panics. It returns Acquire's or f's error. ctx bounds only Acquire.
func (p *Pool) AcquireFunc(ctx context.Context, f func(*Lease) error) error {
	return acquireFunc(ctx, p.Acquire, f)
}

func acquireFunc(ctx context.Context, acquire func(context.Context) (*Lease, error), f func(*Lease) error) error {
	if f == nil {
		return errNoFunc
	}
	l, err := acquire(ctx)
	if err != nil {
		return err
	}
	defer l.Release()
	return f(l)
}

// acquire gets a connection for ctx's scope. The lease's statements run with the settings with, unless with is nil. what and sql describe the lease in
// logs. The lease's stack leaves out as many of the innermost callers as frames says; if frames is negative, the lease has no stack.
func (p *Pool) acquire(ctx context.Context, with *session.Settings, what kind, sql string, frames int) (*Lease, error) {
	l := &Lease{p: p, with: with, what: what}
	l.wants(sql)
	return p.obtain(ctx, l, frames)
}

// statement is acquire for one statement outside a transaction. The statement may ride at its first try. If it has ridden, the lease has the statement's
// result and no connection. m learns what came of it.
func (p *Pool) statement(ctx context.Context, m *meter, with *session.Settings, what kind, sql string, args []any, frames int) (*Lease, error) {
	l := spareLeases.Get().(*Lease)
	l.p, l.with, l.what, l.args = p, with, what, args
	l.wants(sql)
	l.wish.MayShare = p.rides && m.tries == 0
	got, err := p.obtain(ctx, l, frames)
	m.obtained(l, err)
	return got, err
}

func (p *Pool) obtain(ctx context.Context, l *Lease, frames int) (_ *Lease, err error) {
	if frames >= 0 {
		l.stack.Capture(frames+2, gostack.Deep)
	}
	l.lent = leased{l}
	asks(&l.wish, l)
	l.wish.Asked = time.Now()
	scope, in := placeOf(ctx)
	if l.scope = scope; in != nil {
		l.wish.Within = &in.within
		p.reportInside(l, in)
	}
	if t := p.acquireTracer; t != nil {
		ctx = t.TraceAcquireStart(ctx, p.px, pgxpool.TraceAcquireStartData{})
		defer func() {
			end := pgxpool.TraceAcquireEndData{Err: err}
			switch {
			case err != nil:
			case l.ride != nil:
				end.Conn = p.ended.First()
			default:
				end.Conn = l.c.pg
			}
			p.protect("TraceAcquireEnd", func() { t.TraceAcquireEnd(ctx, p.px, end) })
		}()
	}
	err = p.connFor(ctx, l)
	if l.wish.Waited() && in == nil {
		p.reportNested(l)
	}
	if err != nil && l.ride == nil { // otherwise the statement rode, and err is the statement's own error
		err = p.acquireError(l, err)
	}
	l.accountForWait(err)
	if p.observers.WantAcquires() {
		p.tellAcquire(ctx, l, err)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// connFor gives l a connection that passes the checks of fit, or lets l's statement ride. It makes MaxConns + 2 tries. One of them may be a ride that
// has to run again. The other MaxConns + 1 are as in pgxpool, since every connection may turn out to be dead before a new one is dialed.
func (p *Pool) connFor(ctx context.Context, l *Lease) error {
	for try := range int(p.cfg.MaxConns) + 2 {
		got, err := p.sched.Acquire(ctx, &l.wish, try > 0)
		if err != nil {
			l.gaveUp()
			return p.ofScheduler(ctx, l, err)
		}
		if got == nil {
			if done, err := l.rode(ctx); done || err != nil {
				return err
			}
			continue
		}
		c := got.Owner.(*conn)
		l.goesAlone(c)
		l.lentOnce = true
		if ok, err := c.fit(ctx, l); err != nil {
			return err
		} else if ok {
			if l.what == kindLease && c.wire.Flush() != nil { // a queued reset is sent now: the lease's user may send nothing for a long time
				c.closeInBackground()
				continue
			}
			return l.start(ctx, c)
		}
	}
	return pgerr.ErrUnfit
}

// fit checks c before l, or a flight if l is nil, gets it: age, socket, ping, PrepareConn. If fit returns false, it has closed c or given c back.
func (c *conn) fit(ctx context.Context, l *Lease) (ok bool, err error) {
	returned := false // stays false if a hook panics
	defer c.closeUnless(&returned)
	ok, err = c.check(ctx, l)
	returned = true
	return ok, err
}

func (c *conn) check(ctx context.Context, l *Lease) (ok bool, err error) {
	aged, seen := c.expired(c.place.Since()), pgdial.Nothing // Since is the time at which c was lent, which is now
	switch {
	case aged && !c.place.Fenced():
		c.p.stats.aged.Add(1)
	case !aged && c.place.IdleFor() >= pgdial.PeekAfter:
		if seen = c.peek.Look(); seen == pgdial.End {
			c.p.health.lost()
		}
	}
	if aged || seen == pgdial.End {
		c.closeInBackground()
		return false, nil
	}
	ping := true
	c.p.protect("ShouldPing", func() {
		ping = c.p.cfg.ShouldPing(ctx, pgxpool.ShouldPingParams{Conn: c.pg, IdleDuration: c.place.IdleFor()})
	})
	ping = ping || c.suspected() || seen == pgdial.Something && !c.wire.Busy() // a message that came unasked may be the server's last
	if l != nil && (ping || c.p.cfg.PrepareConn != nil) {                      // a flight's ctx ends with the pool anyway
		var cancel context.CancelFunc
		ctx, cancel = l.checking(ctx) // Shutdown ends these checks
		defer cancel()
	}
	if ping && !c.verify(ctx, false) {
		c.closeInBackground()
		return false, ctx.Err()
	}
	if !c.session.ResetIfDoubted() {
		c.arrive(spoiled, way{}, time.Time{})
		return false, nil
	}
	if c.p.cfg.PrepareConn == nil {
		return true, nil
	}
	changed := c.session.RunHook(func() {
		err = c.p.catchPanic("PrepareConn", func() (err error) {
			ok, err = c.p.cfg.PrepareConn(ctx, c.pg)
			return err
		})
	})
	c.types.Forget()
	if changed {
		l.use.Doubt()
	}
	switch {
	case !ok:
		c.closeInBackground()
	case err != nil: // the connection is kept if it is clean
		c.goHome(way{})
		ok = false
	}
	return ok, err
}

// runsWith gives l its settings after l was acquired. BeginTx calls it, because BEGIN has to run without the settings.
func (l *Lease) runsWith(s *session.Settings) { l.with = s }

// start makes l the owner of c. It fails if l's scope has ended or the pool was closed while l waited for c.
func (l *Lease) start(ctx context.Context, c *conn) error {
	l.lend(c)
	l.use.Begin(&c.session, l.with, l.lasts())
	l.use.Show(c.p.routeName(ctx))
	if l.what == kindStatement { // here and not in obtain, since a ride needs no stack
		l.stack.Capture(6, 5)
	}
	if !l.hold.start() {
		c.release()
		return ErrClosed
	}
	if l.scope != nil && !l.scope.add(&l.place, l) {
		l.end(leaseReleased)
		return ErrInvocationEnded
	}
	return nil
}

// reportInside logs that l is acquired with the ctx of in, a function that InTx runs. Usually the code should have used tx: what runs on l is not part of
// the transaction, and l waits for a second connection while the first is held. It may be on purpose.
func (p *Pool) reportInside(l *Lease, in *callback) {
	held := p.heldBy(in)
	if held == nil {
		return
	}
	used := gostack.Here()
	p.warnAt(&used, time.Now(), "lmipool: the pool was used with the ctx of a transaction's function; this runs outside the transaction, on a second connection",
		safelog.Request(l.scope.id()), slog.String("doing", sqltext.Shown(l.sql, 200)),
		slog.Any("used_at", used.Lines()), slog.Any("begun_at", held.stack.Lines()))
}

// heldBy returns the lease of p that c holds. If c holds none, heldBy looks at the callbacks around c, innermost first, and then returns nil.
func (p *Pool) heldBy(c *callback) *Lease {
	for ; c != nil; c = c.outer {
		if c.within.Holds == nil || c.starting {
			continue
		}
		if l := c.within.Holds.Owner.(*Lease); l.p == p && l.active() {
			return l
		}
	}
	return nil
}

// refused returns the error of a caller whom the scheduler has refused. Once a second at most, it logs how many callers were refused since the last log.
func (p *Pool) refused(ctx context.Context, l *Lease, e *sched.NoTimeError) error {
	err := &NoTimeError{e.Queued, e.Wait, e.Service, e.Left, e.Why, e.Outage}
	p.stats.refusals.unsaid.Add(1)
	p.tellRefused(ctx, l, e)
	now, last := time.Now().UnixNano(), p.stats.refusals.saidAt.Load()
	again := now-last >= int64(time.Second) || now < last // the clock may be set back
	if again && p.stats.refusals.saidAt.CompareAndSwap(last, now) {
		p.log.Warn("lmipool: callers were refused", slog.Int64("refused", p.stats.refusals.unsaid.Swap(0)), slog.String("last", err.Error()))
	}
	return err
}

// acquireError returns err in an AcquireError that says how busy the pool is, or err itself if the pool or the invocation has ended.
func (p *Pool) acquireError(l *Lease, err error) error {
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrInvocationEnded) {
		p.outlives(l.scope, l.sql, err)
		return err
	}
	lookers.Add(1)
	defer lookers.Add(-1)
	now := time.Now()
	s := p.sched.Stats()
	switch bare := err == context.DeadlineExceeded || err == context.Canceled; { //nolint:errorlint // an error that wraps the ctx's gives a reason already
	case bare && !l.wish.Waited() && !l.lentOnce:
		err = pgerr.EndedBefore(err)
	case bare && s.Total == s.Dialing:
		if g := p.dialer.oldest.Load(); g != nil {
			err = fmt.Errorf("%w; there is no connection yet: %s", err, g.Progress())
		}
	}
	e := &AcquireError{
		Waited:   now.Sub(l.wish.Asked),
		MaxConns: s.Max,
		Open:     s.Total,
		Limit:    s.Limit,
		InUse:    s.Held,
		Queued:   s.Queued + 1, // the caller has just left the queue
		Err:      err,
	}
	if out := p.holders(); len(out) > 0 {
		h := slices.MaxFunc(out, func(a, b occupant) int { return cmp.Compare(a.held(now), b.held(now)) }).holder(now)
		e.Longest = &h
	}
	return pgerr.NoConnection(e, inPgerr)
}

// ofScheduler translates an error of the scheduler into one of this package.
func (p *Pool) ofScheduler(ctx context.Context, l *Lease, err error) error {
	var late *sched.NoTimeError
	var nests *sched.NestedError
	switch {
	case errors.As(err, &late):
		return p.refused(ctx, l, late)
	case errors.As(err, &nests):
		return nested(nests.Held.Owner.(*Lease))
	case errors.Is(err, sched.ErrClosed):
		return ErrClosed
	}
	return err
}

// nested returns the error of a caller who waits inside a function of InTx that holds the lease held. The error has the caller's stack.
func nested(held *Lease) error {
	var s gostack.Site
	s.Capture(4, gostack.Deep)
	return &NestedAcquireError{Holder: held.holder(time.Now()), Waiting: s.Lines()}
}
