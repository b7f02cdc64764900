package pool

import (
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// mayHaveLeft reports whether an earlier user of c may have left something after all: see [facts.Belief].
func (c *conn) mayHaveLeft() bool { return c.isolates() && c.belief.MayBeWrong(c.base) }

// resetFirst has c, which somebody has just got, reset in front of his first flight. It reports false if that is not possible.
func (c *conn) resetFirst() bool {
	c.belief = facts.Belief{}
	if !c.own() || !c.session.deallocates {
		return c.rinsedOf(sqltext.AnyTrace)
	}
	c.foreign.add(anybody)
	return c.resetNext(sqltext.AnyTrace, true)
}

// asker asks questions on c, which nobody else uses just now.
func (c *conn) asker() *facts.Asker {
	a := &facts.Asker{PG: c.pg.PgConn(), Guard: newGuard(c.session).look}
	if c.lane != nil && !c.lane.unnamed {
		a.Kept = c.lane
	}
	return a
}
