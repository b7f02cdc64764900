package pool

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/sched"
)

// Release gives the connection back. It is idempotent and never waits for the network. Do not call it while another call on the lease is running. A
// transaction or Rows that are still open are closed in the background, before the next user gets the connection.
func (l *Lease) Release() { l.on().Release() }

func (w leased) Release() { w.l.end(leaseReleased) }

// releaseUnless is deferred by a call whose result will hold the lease. If the call fails, or the user's tracer or Valuer panics, kept stays false.
func (l *Lease) releaseUnless(kept *bool) {
	if !*kept {
		l.Release()
	}
}

// end takes the connection from its user. It reports whether this was the first call, since only the first has an effect.
func (l *Lease) end(why leaseState) bool {
	was, left, quiet := l.hold.end(why)
	if was != leaseActive {
		return was == leasePending
	}
	if l.scope != nil {
		l.scope.remove(&l.place)
	}
	if l.p.observers.WantReleases() {
		defer l.p.tellRelease(l.word(), l.since, l.c.server(), l.scope.id(), why)
	}
	if t := l.p.releaseTracer; t != nil {
		l.p.protect("TraceRelease", func() { t.TraceRelease(l.p.px, pgxpool.TraceReleaseData{Conn: l.c.pg}) })
	}
	if l.raw {
		l.c.types.Forget()
		l.use.TakeBack()
	}
	switch {
	case l.raw && why != leaseReleased, !quiet && why == leaseClosed: // Shutdown has waited already
		l.c.abort()
	case quiet:
		if why == leaseReleased {
			l.observed()
		}
		l.use.End()
		l.c.release()
	default:
		l.c.place.GaveUp(false)
		l.p.sched.Retain(&l.c.place)
		l.p.background("reclaim", func() { l.reclaim(left) })
	}
	return true
}

// reclaim waits until the running call is over, closes the open result, and gives the connection back. If the call does not return, reclaim cuts the
// connection off. left is closed when the call is over; it is nil if no call is running.
func (l *Lease) reclaim(left <-chan struct{}) {
	if left != nil && !l.wait(left) {
		l.c.abort()
		return
	}
	clean := false
	defer l.c.closeUnless(&clean) // closing the result may panic, in a tracer for example
	if r := l.take(); r != nil {
		asked := make(chan struct{}) // closing reads the rest of the result, which can be long, so its statement is cancelled after a while
		late := time.AfterFunc(graceToLeave, func() {
			defer close(asked)
			l.c.cancel.Cancel(ErrInvocationEnded)
		})
		r.closeResult()
		if !late.Stop() {
			<-asked
			l.c.cancel.Answered()
		}
	}
	clean = true
	l.use.End()
	l.c.release()
}

// wait waits for the running call, and reports whether it has returned. After graceToLeave it cancels the call's statement, whose ctx may go on.
func (l *Lease) wait(left <-chan struct{}) bool {
	select {
	case <-left:
		return true
	case <-time.After(graceToLeave):
	}
	l.c.cancel.Cancel(ErrInvocationEnded)
	select {
	case <-left:
		l.c.cancel.Answered()
		return true
	case <-time.After(max(0, l.p.cfg.CancelWait) + graceToCancel):
		return false
	}
}

func (l *Lease) takeBack(now time.Time) (report func()) {
	h := l.holder(now)
	if !l.end(leaseEnded) {
		return nil
	}
	l.p.stats.leaks.Add(1)
	return func() {
		l.p.tellLeak(l.what, &h)
		l.p.warnAt(&l.stack, now, "lmipool: the invocation ended with a "+l.what.String()+" still held; it was taken back", h.attrs()...)
	}
}

// A connection that its user has given back takes some steps until the next user can have it. After each step, next says which step is due. Two steps
// are done at once, since they cost the caller nothing: lend, and reset, which only queues SQL for the next user. The others run in the background.

// step is one step of a connection's way from one user to the next.
type step uint8

const (
	// These are the last steps. All but lend close the connection.
	lend    step = iota // the connection is fit for the next user
	spoiled             // no reset takes away what is left in its session
	giveUp              // a cancel request may still arrive, and nobody knows when
	closing             // the connection cannot be used any more, or the pool closes

	runHook  // AfterRelease has to be called
	settle   // a cancel request may still arrive
	rollback // the user has left a transaction open
	confirm  // the server has refused to write, and may be no primary any more
	discard  // something is left in a session that may be shared with other clients
	reset    // something is left in the session
	tidy     // something has to be sent, asked or forgotten before the next user comes
)

// state has all that next depends on.
type state struct {
	ended        bool // the connection is closed, busy, or past its lifetime
	unsettled    bool // the connection was closed while a cancel request could still arrive
	hook         bool // AfterRelease has still to be called
	poolCloses   bool
	canceling    bool // a cancel request may still arrive
	inTx         bool
	maybeStandby bool
	shared       bool // something is left in the session, which other clients may use too
	spoiled      bool // something is left in the session that no reset takes away
	left         bool // something is left in the session that a reset takes away
	untidy       bool // there is something for tidy to do
}

// next returns the step that is due. Some steps rely on those before them in this order.
func (s state) next() step {
	switch {
	case s.ended && s.unsettled:
		return giveUp
	case s.ended:
		return closing
	case s.hook && !s.canceling && !s.inTx && !s.maybeStandby: // settle, rollback and confirm come before the hook sees the connection
		return runHook
	case s.poolCloses:
		return closing
	case s.canceling:
		return settle
	case s.inTx:
		return rollback
	case s.maybeStandby:
		return confirm
	case s.shared:
		return discard
	case s.spoiled:
		return spoiled
	case s.left:
		return reset
	case s.untidy:
		return tidy
	}
	return lend
}

// failed returns the step that is due after step s has failed or panicked.
func (s step) failed() step {
	switch s {
	case settle:
		return giveUp
	case discard, reset, tidy:
		return spoiled
	}
	return closing
}

// way says which steps a connection has done since its user gave it back.
type way struct {
	hook  bool // AfterRelease has still to be called
	reset bool // a reset is queued
	tidy  bool // step tidy is done
	asks  bool // the looks that were put off are due
}

// state returns what next has to know of c after the steps w.
func (c *conn) state(w way, now time.Time) state {
	pc, s := c.pg.PgConn(), &c.session
	return state{
		ended:        pc.IsClosed() || pc.IsBusy() || c.expired(now),
		unsettled:    pc.IsClosed() && c.cancel.Pending(),
		hook:         w.hook,
		poolCloses:   c.p.ctx.Err() != nil,
		canceling:    c.cancel.Pending(),
		inTx:         pc.TxStatus() != 'I',
		maybeStandby: c.maybeStandby,
		shared:       s.IsForeign(),
		spoiled:      s.IsSpoiled(),
		left:         !w.reset && s.NeedsReset(),
		untidy:       !w.tidy && (!s.IsTidy(w.reset, w.asks) || c.reach.Wonders(now) || !c.reach.Isolates() && c.isRenamed() || c.mustCount(now)),
	}
}

// release begins c's way to the next user. It is called when c's lease or flight has ended, and nobody uses c any more.
func (c *conn) release() {
	c.session.Rest()
	c.cancel.AsPgx()
	c.goHome(way{hook: c.p.cfg.AfterRelease != nil})
}

// goHome runs the steps that c has still to do after the steps w.
func (c *conn) goHome(w way) {
	now := time.Now()
	w.asks = c.session.LooksDue(now)
	due := c.state(w, now).next()
	if due == reset {
		due = c.run(context.Background(), due, &w)
	}
	if due > closing {
		c.cleanInBackground(due, w)
		return
	}
	c.arrive(due, w, now)
}

// idled is called when c has been idle for the time that arrive has given the scheduler. It sends the queued reset alone, or asks what was put off. After
// a thaw, Lambda's next invocation comes at once and must not wait for a look. So if idled is called late, it puts the looks off once more.
func (c *conn) idled() {
	now := time.Now()
	switch {
	case c.wire.Queued():
		c.cleanInBackground(tidy, way{reset: true})
	case sched.Age(c.place.Since(), now) > 2*isolation.LookAfter:
		c.p.sched.Release(&c.place, isolation.LookAfter, now)
	default:
		c.cleanInBackground(tidy, way{asks: true})
	}
}

// tidyIdle tidies c, which was idle and was taken for that. A reset that is queued on c is sent.
func (c *conn) tidyIdle() { c.cleanInBackground(tidy, way{reset: c.wire.Queued()}) }

// cleanInBackground runs the step due and the steps after it in the background. A step that panics counts as failed.
func (c *conn) cleanInBackground(due step, w way) {
	tidies := func(s step, n int) {
		if s == tidy {
			c.p.sched.Washing(n)
		}
	}
	if why := c.cancel.Why(); why != nil {
		c.place.GaveUp(errors.Is(why, context.DeadlineExceeded))
	}
	c.p.sched.Retain(&c.place)
	tidies(due, 1)
	c.p.background("release", func() {
		returned := false
		defer c.closeUnless(&returned)
		for due > closing {
			then := due.failed()
			c.p.protect("release", func() {
				ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
				defer cancel()
				then = c.run(ctx, due, &w)
			})
			tidies(due, -1)
			tidies(then, 1)
			due = then
		}
		returned = true
		c.arrive(due, w, time.Now())
	})
}

// run runs step s, notes it in w, and returns the step that is due next.
func (c *conn) run(ctx context.Context, s step, w *way) step {
	done := false
	switch s {
	case runHook:
		w.hook = false
		c.session.RunHook(func() { c.p.protect("AfterRelease", func() { done = c.p.cfg.AfterRelease(c.pg) }) })
		c.types.Forget()
	case settle:
		done = c.cancel.Settle(max(goodbyeTimeout, c.p.cfg.cancelWait()))
	case rollback: // costs one round trip; pgxpool would close the connection instead
		defer c.cancel.Restore(c.cancel.WaitOnly())
		_, err := c.pg.Exec(ctx, "rollback")
		done = err == nil && c.pg.PgConn().TxStatus() == 'I'
	case confirm:
		done = c.confirmPrimary()
	case discard:
		done = c.isShared(ctx)
	case reset:
		w.reset = true
		done = c.session.QueueReset()
	case tidy:
		w.tidy = true
		done = (c.reach.Isolates() || !c.isRenamed() || c.p.dialer.rename(ctx, c.pg.PgConn())) && c.session.Tidy(ctx, w.reset, w.asks) && (!c.reach.Wonders(time.Now()) || c.reach.AskAgain(ctx, c.pg.PgConn()) == nil && c.clean())
		if done {
			c.countIfDue(ctx)
		}
	}
	if !done {
		return s.failed()
	}
	return c.state(*w, time.Now()).next()
}

// arrive does the last of c's steps: it makes c idle, or closes it.
func (c *conn) arrive(last step, w way, now time.Time) {
	switch last {
	case lend:
		c.session.HandOn(w.reset || w.tidy)
		wait := time.Duration(0)
		switch {
		case c.wire.Queued():
			wait = sched.JoinWithin
		case c.session.HasPutOff(now):
			wait = isolation.LookAfter
		}
		c.p.sched.Release(&c.place, wait, now)
		return
	case spoiled:
		c.p.stats.unclean.Add(1)
	case giveUp:
		c.cancel.GivenUp()
	}
	c.closeInBackground()
}

// isShared finds out whether c's session, behind a pooler, is certainly shared with other clients. If so, the pool does not clean the session and keeps
// c. Otherwise c is closed, since a reset could do harm in another client's session. If the session was c's alone, the pooler is in session mode and
// cleans the session when c is closed (PgBouncer: server_reset_query).
func (c *conn) isShared(ctx context.Context) bool {
	c.session.Postpone()
	c.reach.AwaitTwin(ctx)
	return c.reach.AskAgain(ctx, c.pg.PgConn()) == nil && !c.reach.Isolates() && c.clean()
}
