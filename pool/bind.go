package pool

import "github.com/lmipool/lmipool/internal/session"

// bind has all that c sends from now on run with s, or with nothing. A connection that is
// closed is left alone: pgx may be saying goodbye on it, in a goroutine of its own.
func (c *conn) bind(s *session.Settings) {
	switch {
	case c.pg.PgConn().IsClosed():
	case s != nil:
		c.wire.Bind(s.Prologue(c.reach.Own()))
	case c.wire != nil:
		c.wire.Bind(nil)
	}
}
