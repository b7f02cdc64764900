package pool

import (
	"context"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// resetNext has c reset in front of its next flight. It reports false if that is not possible.
func (c *conn) resetNext(trace sqltext.Trace, plans bool) bool {
	reset, err := c.session.Reset(trace, plans, c.pg.PgConn())
	if err != nil {
		return false
	}
	if plans {
		c.belief = facts.Belief{}
	} else { // that none are to be dropped is by the facts
		c.belief.Note(c.base)
	}
	c.wire.Queue(session.FailClosed())
	c.wire.Queue(reset)
	c.p.stats.sessionReset()
	c.unhear()
	return true
}

// unclean closes a connection whose session cannot be cleaned.
func (c *conn) unclean() {
	c.p.stats.endedUnclean()
	c.closeInBackground()
}

// unhear drops the notifications that pgx keeps for whoever waits for some.
func (c *conn) unhear() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so only for what is there already
	for {
		if n, _ := c.pg.WaitForNotification(ctx); n == nil {
			return
		}
	}
}

// rinsed has a ping carry the reset that is due, and reports whether that was all.
func (c *conn) rinsed(ctx context.Context) bool {
	if c.pg.Ping(ctx) != nil || !c.clean() || c.differs() {
		return false
	}
	c.unhear()
	return true
}

// rinsedOf resets the session after something of the pool's own.
func (c *conn) rinsedOf(trace sqltext.Trace) bool {
	if !c.reach.Isolates() {
		return true
	}
	if !c.clean() { // a connection that pgx closes is not ours to arm: it says goodbye beside us
		return false
	}
	if !c.reach.Own() {
		return false
	}
	c.foreign.Add(session.Anybody)
	var left session.Residue
	left.Add(trace)
	due := left.Due(c.session)
	reset, err := c.session.Reset(due, trace == sqltext.AnyTrace, c.pg.PgConn())
	if err != nil {
		return false
	}
	c.wire.Queue(reset)
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	return c.rinsed(ctx) && (!left.Named() || c.dropNamed(ctx) == nil)
}

// dropNamed drops the statements that users have prepared under names of their own.
func (c *conn) dropNamed(ctx context.Context) error {
	err := c.session.DropNamed(ctx, c.pg)
	if err == nil {
		c.named = nil
	}
	return err
}

// differs reports whether the server has reported settings that are not the session's own. It compares
// them only if some were reported since they were last right.
func (c *conn) differs() bool {
	n := c.wire.Reports()
	if n == c.reports {
		return false
	}
	if c.session.Differs(c.pg.PgConn()) {
		return true
	}
	c.reports = n
	return false
}
