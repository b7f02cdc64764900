package pool

import (
	"context"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// mayHaveLeft reports whether an earlier user of c may have left something after all: see [facts.Belief].
func (c *conn) mayHaveLeft() bool { return c.reach.Isolates() && c.belief.MayBeWrong(c.base) }

// resetFirst has c, which somebody has just got, reset in front of his first flight. It reports false if that is not possible.
func (c *conn) resetFirst() bool {
	c.belief = facts.Belief{}
	if !c.reach.Own() || !c.session.Deallocates {
		return c.rinsedOf(sqltext.AnyTrace)
	}
	c.foreign.Add(session.Anybody)
	return c.resetNext(sqltext.AnyTrace, true)
}

// subject is c, which nobody else uses just now, as one on which statements are looked at.
func (c *conn) subject() *catalog.Subject {
	on := &catalog.Subject{Facts: c.base, Asker: facts.Asker{PG: c.pg.PgConn(), Guard: c.session.Guard().Look}}
	if c.lane != nil {
		on.Types = func() *memrows.Set { return c.types.Of(c.pg) }
		on.Kept = c.lane.Kept()
	}
	return on
}

// learn finds out what is not known yet of st, on a connection that is nobody's just now and whose session is clean.
func (c *conn) learn(st *catalog.Statement) {
	if c.base == nil {
		return
	}
	if err := c.p.lanes.Catalog.Learn(st, c.subject()); err != nil {
		c.p.log.Warn("lmipool: the catalogs could not be asked what statements may run; meanwhile they go alone", "error", err)
	}
}

// check asks whether what is known still holds, if that is due. It reports whether it has held until now.
func (c *conn) check(ctx context.Context) (held bool) {
	return c.base == nil || c.base.Check(ctx, c.subject().Answers)
}
