package pool

import (
	"errors"
	"time"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// settled is keep for a connection whose last statement was cancelled.
func (c *conn) settled() {
	done := false
	defer func() {
		if done {
			c.giveBack()
		} else {
			c.cancel.GivenUp()
			c.closeInBackground()
		}
	}()
	done = c.cancel.Settle(max(goodbyeTimeout, c.p.cancelWait()))
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
