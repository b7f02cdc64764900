package pool

import (
	"fmt"
	"time"
)

// failure is the last dial that failed, if none went well since. The zero value: none.
type failure struct {
	err  error
	at   time.Time
	took time.Duration
}

// forgetFailure is when the last failed dial says nothing any more of why there is no connection.
const forgetFailure = time.Minute

// tellLocked gives err, of a dial that began at start, to those who waited by then, when there is no connection to wait
// for. Beside another dial they wait for that one too, which may go well, and then for no other: of two that take turns
// one is always under way.
func (a *admission) tellLocked(err error, start time.Time) {
	for w := a.queue.head; w != nil; {
		next := w.next
		switch {
		case w.arrived.After(start): // gets a dial that begins later
		case a.dialing == 0 || w.failed:
			a.queue.remove(w)
			w.ready <- grant{err: err}
		default:
			w.failed = true
		}
		w = next
	}
}

// aloneLocked reports whether no dial is to begin beside another, so that those who wait hear of that one: the last dial
// failed, and the one under way does not take much longer than that.
func (a *admission) aloneLocked(now time.Time) bool {
	return a.failure.err != nil && a.lack.err == nil && now.Sub(a.grewAt) < patience*max(a.failure.took, minDialCost)
}

// outOfTimeLocked is why a waiter left whose ctx has ended with err: also why there is no connection at all, if there is
// none.
func (a *admission) outOfTimeLocked(err error, now time.Time) error {
	switch {
	case !a.bareLocked():
	case a.lack.err != nil:
		return fmt.Errorf("%w: %w", err, a.lack.err)
	case a.failure.err != nil && now.Sub(a.failure.at) < forgetFailure:
		return fmt.Errorf("%w; the last dial failed: %w", err, a.failure.err)
	}
	return err
}
