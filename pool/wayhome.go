package pool

import (
	"context"
	"errors"
	"time"
)

// A connection that its user gives back goes home in steps. Each leaves one thing less to do, and next says which is due. Two cost the caller nothing,
// and are done at once: lend, and reset, which queues SQL in front of what the next user sends first. The others run in the background before that.

// step is what is due for a connection that has come back.
type step uint8

const (
	// These are the last steps. All but lend close the connection.
	lend    step = iota // it is fit for the next user
	spoiled             // no reset takes away what is left in its session
	giveUp              // a cancel request may still arrive, and nobody knows when
	closing             // it cannot be used any more, or the pool closes

	runHook  // AfterRelease
	settle   // a cancel request may still arrive
	rollback // its user has left a transaction open
	confirm  // its server has refused to write, and may be no primary any more
	discard  // something is left in a session that may be shared
	reset    // something is left in its session
	tidy     // something is to be sent, asked or forgotten before the next user comes
)

// state has all that next depends on.
type state struct {
	ended        bool // it is closed, busy, or past its lifetime
	unsettled    bool // it was closed while a cancel request could still arrive
	hook         bool // AfterRelease is still to be called
	poolCloses   bool
	canceling    bool // a cancel request may still arrive
	inTx         bool
	maybeStandby bool
	shared       bool // something is left in its session, which may be somebody else's too
	spoiled      bool // something is left that no reset takes away
	left         bool // something is left that a reset takes away
	untidy       bool // there is something for tidy to do
}

// next returns the step that is due.
func (s state) next() step {
	switch {
	case s.ended && s.unsettled:
		return giveUp
	case s.ended:
		return closing
	case s.hook && !s.canceling && !s.inTx && !s.maybeStandby: // these three are dealt with before the hook sees the connection
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

// failed returns the step that is due after s has failed, or panicked.
func (s step) failed() step {
	switch s {
	case settle:
		return giveUp
	case discard, reset, tidy:
		return spoiled
	}
	return closing
}

// way is how far a connection has come on its way home.
type way struct {
	hook  bool // AfterRelease is still to be called
	reset bool // a reset is queued
	tidy  bool // step tidy is done
}

// state reads the state of c.
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
		untidy:       !w.tidy && (!s.IsTidy(now, w.reset) || c.reach.Wonders(now)),
	}
}

// release takes c home. Its lease has ended, and nobody uses it any more.
func (c *conn) release() {
	c.session.Rest()
	c.cancel.AsPgx()
	c.goHome(way{hook: c.p.cfg.AfterRelease != nil})
}

// goHome takes c the rest of its way.
func (c *conn) goHome(w way) {
	now := time.Now()
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

// sendReset sends a queued reset by itself, since no user has come whose statement it could be sent with.
func (c *conn) sendReset() { c.cleanInBackground(tidy, way{reset: true}) }

// cleanInBackground runs the step due and those after it. A step that panics has failed.
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

// run runs a step, and returns the one that is due after it.
func (c *conn) run(ctx context.Context, s step, w *way) step {
	done := false
	switch s {
	case runHook:
		w.hook = false
		c.session.RunHook(func() { c.p.protect("AfterRelease", func() { done = c.p.cfg.AfterRelease(c.pg) }) })
		c.types.Forget()
	case settle:
		done = c.cancel.Settle(max(goodbyeTimeout, c.p.cfg.cancelWait()))
	case rollback: // costs one round trip and keeps the connection, which pgxpool would close
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
		done = c.session.Tidy(ctx, w.reset) && (!c.reach.Wonders(time.Now()) || c.reach.AskAgain(ctx, c.pg.PgConn()) == nil && c.clean())
	}
	if !done {
		return s.failed()
	}
	return c.state(*w, time.Now()).next()
}

// arrive ends c's way with its last step.
func (c *conn) arrive(last step, w way, now time.Time) {
	switch last {
	case lend:
		c.session.HandOn(w.reset || w.tidy)
		c.p.sched.Release(&c.place, c.wire.Queued(), now)
		return
	case spoiled:
		c.p.stats.unclean.Add(1)
	case giveUp:
		c.cancel.GivenUp()
	}
	c.closeInBackground()
}

// isShared finds out whether c's session, behind a pooler, is certainly shared with other clients: then the pool does not clean it, and c is kept. If
// it is not certain, c is closed: a reset could meet the session of another client and do harm there. If the session was c's alone the pooler is in
// session mode, and cleans the session when its client leaves (PgBouncer: server_reset_query).
func (c *conn) isShared(ctx context.Context) bool {
	c.session.Postpone()
	c.reach.AwaitTwin(ctx)
	return c.reach.AskAgain(ctx, c.pg.PgConn()) == nil && !c.reach.Isolates() && c.clean()
}
