package pool

import (
	"fmt"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// wrapError returns err with what the connection knows of it: that what was sent did not run, or
// that it was cancelled.
func (c *conn) wrapError(err error) error {
	if err == nil {
		return nil
	}
	if failed := c.wire.Failure(); failed != nil {
		if pgerr.IsLost(failed) {
			c.p.health.lost()
		}
		return failed
	}
	if told := c.wire.Declined(); told != nil && !pgerr.IsLost(err) { // else it was not the settings that were declined
		return fmt.Errorf("lmipool: With: %w", c.cancel.Explain(told(err)))
	}
	c.reach.Conflicts(err)
	return c.committed(c.recordError(c.session.WithoutArgument(c.cancel.Explain(err))))
}

// committed is err, of the last call, with what is known of what was committed before it.
func (c *conn) committed(err error) error {
	if pgerr.DidNotRun(err) || !c.session.MayHaveCommitted() {
		return err
	}
	return partlyDone(err)
}

// partlyDone is err for a call of which something may have been committed.
func partlyDone(err error) error {
	if err == nil || !Retryable(err) {
		return err
	}
	return pgerr.PartlyDone(err)
}
