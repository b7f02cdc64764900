package pool

import (
	"context"
	"errors"
	"time"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// settle makes sure that no cancel request of the last statement hits what c carries
// next: it waits for the end of the cancel connection, and lets the server say something
// harmless, which absorbs what a pooler passes on late. It is the owner's. false: c is
// good for nothing but to be closed.
func (c *conn) settle(bound time.Duration) bool {
	h := c.cancel
	r := h.req.Load()
	if r == nil {
		return true
	}
	if !h.await(r, bound) {
		return false
	}
	pc := c.pg.PgConn()
	if r.asked {
		_ = h.nc.SetDeadline(time.Now().Add(bound))
		_ = pc.Exec(context.Background(), "-- absorbs a cancel request").Close() // 57014 is what it is for
	}
	if pc.IsClosed() {
		return false
	}
	_ = h.nc.SetDeadline(time.Time{})
	h.req.Store(nil)
	return true
}

// settled is keep for a connection whose last statement was cancelled.
func (c *conn) settled() {
	done := false
	defer func() {
		if done {
			c.giveBack()
		} else {
			c.p.cancels.lost.Add(1)
			c.retire()
		}
	}()
	done = c.settle(max(goodbyeTimeout, c.p.cancelWait()))
}

// cancelWait is Config.CancelWait, for what needs a bound also without.
func (p *Pool) cancelWait() time.Duration {
	if p.cfg.CancelWait < 0 {
		return defaultCancelWait
	}
	return p.cfg.CancelWait
}

// errUnsettled is what a lease says whose connection is lost to a cancel request.
var errUnsettled = pgerr.Unsent("the statement", errors.New("the server does not acknowledge the cancel request for the one before; the connection is given up"))
