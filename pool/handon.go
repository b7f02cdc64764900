package pool

import (
	"context"
	"time"
)

// handOn gives c, which is in no transaction, to the next user. A reset that is due goes in
// front of his first flight; it goes by itself, in the background, if nobody comes soon, or
// if there is more to do than that.
func (c *conn) handOn(now time.Time) {
	s := &c.session
	queued := s.NeedsReset()
	switch {
	case s.IsForeign():
		c.discard()
	case s.IsSpoiled() || queued && !s.QueueReset():
		c.unclean()
	case !s.IsTidy(now, queued) || c.reach.Wonders(now):
		c.wash(queued)
	default:
		s.HandOn(queued)
		c.release(now)
	}
}

// wash does in the background what is to be done before the next user comes.
func (c *conn) wash(queued bool) {
	c.p.sched.Retain(&c.place)
	c.p.sched.Washing(1)
	c.p.background("reset", func() {
		clean := false
		defer func() {
			c.p.sched.Washing(-1)
			if c.session.HandOn(true); clean {
				c.release(time.Now())
			} else {
				c.unclean()
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		clean = c.session.Tidy(ctx, queued) && (!c.reach.Wonders(time.Now()) || c.reach.AskAgain(ctx, c.pg.PgConn()) == nil && c.clean())
	})
}

// unclean closes a connection whose session cannot be cleaned.
func (c *conn) unclean() {
	c.p.stats.endedUnclean()
	c.closeInBackground()
}

// discard closes c, behind a pooler, whose session may have something of its user's. A reset could
// meet the session of somebody else, to whom it does harm; and the session is clean
// for its next user if it was c's alone: a pooler in session mode sees to that when a client leaves (PgBouncer by its
// server_reset_query). Unless it turns out that the session is shared: then it is not ours to mend.
func (c *conn) discard() {
	c.session.Postpone()
	c.p.sched.Retain(&c.place)
	c.p.background("discard", func() {
		kept := false
		defer func() {
			if !kept {
				c.unclean()
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		c.reach.AwaitTwin(ctx)
		if c.reach.AskAgain(ctx, c.pg.PgConn()) == nil && !c.reach.Isolates() && c.clean() {
			kept = true
			c.session.HandOn(true)
			c.release(time.Now())
		}
	})
}
