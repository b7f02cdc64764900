package isolation

import (
	"sync/atomic"
	"time"
)

// payAfter is how long callers have waited all the time when looks begin to pay: the wait has then cost about as much as a look does.
const payAfter = 10 * time.Millisecond

// patience is what the sessions of a pool share, to put off looks.
type patience struct {
	waiting atomic.Int64 // since when callers have waited whenever a connection came back, in nanoseconds; 0: nobody waited the last time
	looks   atomic.Int32 // how many sessions are asking for facts
}

// keepsWaiting notes whether callers wait now, when a connection comes back, and reports whether they have waited for payAfter.
func (p *patience) keepsWaiting(now time.Time, wait bool) bool {
	if !wait {
		p.waiting.Store(0)
		return false
	}
	p.waiting.CompareAndSwap(0, now.UnixNano())
	return now.UnixNano()-p.waiting.Load() >= int64(payAfter)
}
