package pool

import (
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// A connection is handed on without a reset if its user has left nothing, by the facts. A change of the catalogs ends
// them, and is noticed up to a second later: until then a trigger that is new may have set something. So the connection
// remembers when it was handed on like that. Once it is known that the facts were wrong, or a second later if
// nobody has asked since whether they are right, it is reset in front of its next user's first flight.

// belief is by what a connection was handed on without a reset.
type belief struct {
	at   int64  // when, the last time, in nanoseconds; 0: it was reset since, or is new
	turn uint64 // how often the facts had turned out to be wrong
}

// believes notes that c is handed on without a reset.
func (c *conn) believes() {
	if c.base == nil || c.base.signedAt.Load() == 0 { // nothing is known, so nothing was believed
		return
	}
	if c.belief.at == 0 {
		c.belief.turn = c.base.turns.Load()
	}
	c.belief.at = time.Now().UnixNano()
}

// mayHaveLeft reports whether an earlier user of c may have left something after all.
func (c *conn) mayHaveLeft() bool {
	if c.base == nil || c.belief.at == 0 || !c.isolates() {
		return false
	}
	right := c.base.signedAt.Load()
	return c.belief.turn != c.base.turns.Load() || right < c.belief.at && time.Now().UnixNano()-right > int64(maxProofAge)
}

// resetFirst has c, which somebody has just got, reset in front of his first flight. It reports false if that is not possible.
func (c *conn) resetFirst() bool {
	c.belief = belief{}
	if !c.own() || !c.session.deallocates {
		return c.rinsedOf(sqltext.AnyTrace)
	}
	c.foreign.add(anybody)
	return c.resetNext(sqltext.AnyTrace, true)
}
