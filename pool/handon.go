package pool

import (
	"context"
	"time"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// handOn gives c, which is in no transaction, to the next user. A reset that is due goes in
// front of his first flight; it goes by itself, in the background, if nobody comes soon, or
// if there is more to do than that.
func (c *conn) handOn(now time.Time) {
	l, p := c.residue, c.pending
	c.residue, c.pending = session.Residue{}, pending{}
	if !c.reach.Isolates() { // no more
		l.Forgive()
	}
	if !c.reach.Own() && (l.Trace() > sqltext.NoTrace || c.foreign.Any()) && c.reach.Isolates() {
		c.discard(p)
		return
	}
	if c.foreign.Any() && c.session.Draws { // they cannot be told from those of AfterConnect's
		c.unclean()
		return
	}
	parsed, complete := l.Parsed()
	if !complete {
		c.unclean()
		return
	}
	if l.Trace() <= sqltext.SequenceTrace {
		c.belief.Note(c.base)
		if len(parsed) > 0 || !p.isEmpty() || c.reach.Wonders(now) || c.base != nil && c.base.IsDue(now) {
			c.wash(l, p)
		} else {
			c.release(now)
		}
		return
	}
	trace := l.Due(c.session)
	if !c.resetNext(trace, l.Plans()) {
		if c.session.Lasting {
			c.p.closesBecause("AfterConnect leaves what no reset keeps: it listens, or holds an advisory lock, something temporary or a cursor",
				"do that on a connection of its own")
		}
		c.unclean()
		return
	}
	p.insist(c.untold()...)
	if l.Odd() || // the server's configuration may have changed, which no reset takes back: then the session is closed
		c.base != nil && c.base.IsDue(now) || // or nobody would ask, where each user leaves something
		l.Named() || len(parsed) > 0 || !p.isEmpty() || c.pg.PgConn().Frontend().ReadBufferLen() > 0 { // of which pgx has heard nothing yet
		c.wash(l, p)
		return
	}
	c.release(now)
}

// wash sends the reset that is due and waits for the answer, in the background, and does
// what must not be done in a session that is not clean.
func (c *conn) wash(l session.Residue, p pending) {
	c.p.sched.Retain(&c.place)
	c.p.sched.Washing(1)
	c.p.background("reset", func() {
		clean := false
		defer func() {
			c.p.sched.Washing(-1)
			if clean {
				c.release(time.Now())
			} else {
				c.unclean()
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		if l.Trace() > sqltext.SequenceTrace && !c.rinsed(ctx) {
			return
		}
		if l.Named() && c.dropNamed(ctx) != nil {
			return
		}
		if parsed, _ := l.Parsed(); len(parsed) > 0 && c.forget(ctx, parsed) != nil {
			return
		}
		if !c.check(ctx) && l.Trace() <= sqltext.SequenceTrace {
			c.belief = facts.Belief{}
			if !c.rinsedOf(sqltext.AnyTrace) { // what ran may have left more than was known
				return
			}
		}
		for _, st := range p.unsure {
			if c.learn(st); c.base != nil && st.Leaves(c.base).Trace == sqltext.LastingTrace {
				return
			}
		}
		for _, st := range p.unsteady {
			c.findSteady(st)
		}
		if c.reach.Wonders(time.Now()) && c.reach.AskAgain(ctx, c.pg.PgConn()) != nil {
			return
		}
		clean = c.clean() && (l.Trace() <= sqltext.SequenceTrace || c.told())
	})
}

// discard closes c, behind a pooler, whose session may have something of its user's. A reset could
// meet the session of somebody else, to whom it does harm; and the session is clean
// for its next user if it was c's alone: a pooler in session mode sees to that when a client leaves (PgBouncer by its
// server_reset_query). Unless it turns out that the session is shared: then it is not ours to mend.
func (c *conn) discard(p pending) {
	c.p.lanes.Catalog.Postpone(p.unsure)
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
			c.release(time.Now())
		}
	})
}
