package pool

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/pgdial"
)

// fit makes sure that c can be handed to l, or to a flight if l is nil, as pgxpool's Acquire does. If it returns false, it has given c up or sent it
// home.
func (c *conn) fit(ctx context.Context, l *Lease) (ok bool, err error) {
	aged, seen := c.expired(c.place.Since()), pgdial.Nothing // it was lent just now, so Since is the time
	switch {
	case aged && !c.place.Fenced():
		c.p.stats.endedByAge()
	case !aged && c.place.IdleFor() >= pgdial.PeekAfter:
		if seen = c.peek.Look(); seen == pgdial.End {
			c.p.health.lost()
		}
	}
	if aged || seen == pgdial.End {
		c.closeInBackground()
		return false, nil
	}
	ping := true
	c.p.protect("ShouldPing", func() {
		ping = c.p.cfg.ShouldPing(ctx, pgxpool.ShouldPingParams{Conn: c.pg, IdleDuration: c.place.IdleFor()})
	})
	ping = ping || c.suspected() || seen == pgdial.Something && !c.wire.Busy() // what came unasked may be the server's last message
	if l != nil && (ping || c.p.cfg.PrepareConn != nil) {                      // a flight's ctx ends with the pool anyway
		var cancel context.CancelFunc
		ctx, cancel = l.checking(ctx) // Shutdown ends these checks
		defer cancel()
	}
	if ping && !c.verify(ctx, false) {
		c.closeInBackground()
		return false, ctx.Err()
	}
	if !c.session.ResetIfDoubted() {
		c.arrive(spoiled, way{}, time.Time{})
		return false, nil
	}
	if c.p.cfg.PrepareConn == nil {
		return true, nil
	}
	changed := c.session.RunHook(func() {
		err = c.p.catchPanic("PrepareConn", func() (err error) {
			ok, err = c.p.cfg.PrepareConn(ctx, c.pg)
			return err
		})
	})
	c.types.Forget()
	if changed {
		l.use.Doubt()
	}
	switch {
	case !ok:
		c.closeInBackground()
	case err != nil: // the connection is kept if it is clean
		c.goHome(way{})
		ok = false
	}
	return ok, err
}
