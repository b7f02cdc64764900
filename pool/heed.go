package pool

import (
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// heed runs a hook that gets the connection. What it sends may leave anything behind, as
// what a user with the raw connection sends. changed: texts may mean something else after it.
func (c *conn) heed(hook func()) (changed bool) {
	c.unarm()
	before, armed, values := c.wire.Sent(), c.wire.Save(), c.foreign
	c.hideForeign()
	c.watching()
	defer func() { changed = c.watched(&c.residue, &c.pending) }()
	hook()
	switch {
	case c.wire.Sent() == before:
		c.wire.Restore(armed)
		c.foreign = values
	case c.reach.Isolates():
		c.residue.AddNamed(sqltext.AnyTrace)
		c.foreign.Add(session.Anybody)
	}
	return changed
}

// unarm sends what is to go in front of the next flight, and does not wait for the answer, since that flight may be
// one that the wire does not see. If it cannot be written, nothing else can.
func (c *conn) unarm() {
	if pc := c.pg.PgConn(); !pc.IsClosed() && !pc.IsBusy() {
		_ = c.wire.Flush()
	}
}
