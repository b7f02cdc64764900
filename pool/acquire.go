package pool

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Acquire gets a connection for the caller alone, waiting in order of arrival until one is free, ctx ends or its scope does. Release gives it back.
// If the caller only runs statements, the pool's own methods hold a connection shorter.
func (p *Pool) Acquire(ctx context.Context) (*Lease, error) {
	if c, err := p.engine.own(ctx); err != nil {
		return nil, err
	} else if c != nil {
		return &Lease{lent: c}, nil
	}
	l := &Lease{p: p, what: kindLease}
	l.stack.Capture(0, ofAcquire)
	return p.obtain(ctx, l)
}

func (p pooled) own(context.Context) (*pgxpool.Conn, error) { return nil, nil }

// ofAcquire is how many callers of Acquire are recorded.
const ofAcquire = 5

// AcquireFunc runs f with a lease, and releases it after f, also when f panics. ctx affects only the acquiring.
func (p *Pool) AcquireFunc(ctx context.Context, f func(*Lease) error) error {
	if f == nil {
		return errNoFunc
	}
	l, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer l.Release()
	return f(l)
}

// acquire gets a connection for ctx's scope, to run things on with settings, if any, waiting in order of arrival. frames is how many callers to
// leave out of the stack; negative takes no stack.
func (p *Pool) acquire(ctx context.Context, with *session.Settings, what kind, sql string, frames int) (*Lease, error) {
	l := &Lease{p: p, with: with, what: what}
	l.wants(sql)
	if frames >= 0 {
		l.stack.Capture(frames+1, gostack.Deep)
	}
	return p.obtain(ctx, l)
}

// statement is acquire for one statement outside a transaction, which may ride: then the lease has its rows, and never had a connection. It runs
// with settings, if any. What is tried again runs alone.
func (p *Pool) statement(ctx context.Context, again bool, with *session.Settings, what kind, sql string, args []any, frames int) (*Lease, error) {
	l := spareLeases.Get().(*Lease)
	l.p, l.with, l.what, l.args = p, with, what, args
	l.wants(sql)
	l.wish.MayShare = p.rides && !again
	if frames >= 0 {
		l.stack.Capture(frames+1, gostack.Deep)
	}
	return p.obtain(ctx, l)
}

func (p *Pool) obtain(ctx context.Context, l *Lease) (_ *Lease, err error) {
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
	if err = p.connFor(ctx, l); err != nil {
		if l.ride != nil { // it had got further
			return nil, err
		}
		return nil, p.acquireError(l, err)
	}
	return l, nil
}

// connFor gives l a connection that is fit, or has it ride.
func (p *Pool) connFor(ctx context.Context, l *Lease) error {
	// As many tries as pgxpool makes: in the worst case every connection there is turns out to be dead, and the one after that is new. And one to
	// ride.
	for try := range int(p.cfg.MaxConns) + 2 {
		got, err := p.sched.Acquire(ctx, &l.wish, try > 0)
		if err != nil {
			if e, ok := err.(*sched.NestedError); ok { //nolint:errorlint // it is as the scheduler has returned it
				err = nested(e.Held.Owner.(*Lease))
			} else if err == sched.ErrClosed { //nolint:errorlint // as above
				err = ErrClosed
			}
			l.gaveUp()
			return err
		}
		if got == nil {
			if done, err := l.rode(ctx); done || err != nil {
				return err
			}
			continue
		}
		if l.ride != nil {
			p.stats.goesAlone(catalog.AloneOnly)
			l.goesForItself()
		}
		c := got.Owner.(*conn)
		l.lentOnce = true
		if ok, err := c.fit(ctx, l); err != nil {
			return err
		} else if ok {
			if l.what == kindLease && c.wire.Flush() != nil { // its user may say nothing for long
				c.closeInBackground()
				continue
			}
			return l.start(c)
		}
	}
	return pgerr.ErrUnfit
}

// acquireError adds to err what the pool looked like. The ctx's own error needs it most, the sentinels of a use that cannot succeed need nothing.
func (p *Pool) acquireError(l *Lease, err error) error {
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrInvocationEnded) {
		return err
	}
	now := time.Now()
	s := p.sched.Stats()
	e := &AcquireError{
		Waited: now.Sub(l.wish.Asked),
		Limit:  s.Limit,
		InUse:  s.Held,
		Queued: s.Queued + 1, // the caller has just left the queue
		Err:    err,
	}
	if out := p.holders(); len(out) > 0 {
		h := slices.MaxFunc(out, func(a, b occupant) int { return cmp.Compare(a.held(now), b.held(now)) }).holder(now)
		e.Longest = &h
	}
	return e
}

// runsWith gives l its settings late: BEGIN, for which it was acquired, runs without them.
func (l *Lease) runsWith(s *session.Settings) { l.with = s }

// start makes l the owner of c. Its scope or the pool may have ended just then.
func (l *Lease) start(c *conn) error {
	l.lend(c)
	l.use.Begin(&c.session, l.with, l.lasts())
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

// nested is the error of a caller who waited inside a function of InTx that holds a lease, which is held. It is made in his goroutine, whose stack it has.
func nested(held *Lease) error {
	var s gostack.Site
	s.Capture(3, gostack.Deep)
	return &NestedAcquireError{Holder: held.holder(time.Now()), Waiting: s.Lines()}
}

// reportInside logs that l was asked for with the ctx of an InTx's function, once for each place in the code. Mostly tx was meant: what l does is
// no part of the transaction (the lost update), and waits for a connection while one is held (the deadlock). It may be on purpose, so it is no
// error.
func (p *Pool) reportInside(l *Lease, in *callback) {
	held := p.heldBy(in)
	if held == nil {
		return
	}
	var s gostack.Site
	s.Capture(2, gostack.Deep)
	if !p.inside.First(&s) {
		return
	}
	p.log.Warn("lmipool: the pool was used with the ctx of a transaction's function; this runs outside the transaction, on a second connection",
		slog.String("request_id", l.scope.id()), slog.String("doing", sqltext.Cut(l.sql, 200)),
		slog.Any("used_at", s.Lines()), slog.Any("begun_at", held.stack.Lines()))
}

// heldBy returns the lease of p that the innermost callback around ctx holds, or nil.
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
