package lmipool

import (
	"sync"
	"sync/atomic"
	"time"
)

// lateness measures how late things happen in this process: how long a goroutine waits before it runs, how late a timer fires, and how long a reply
// takes from the handler's return until it is sent. All three grow when the CPU is busy. lateness keeps the longest delay of the last 15 to 30
// seconds.
type lateness struct {
	worst  atomic.Int64 // the longest delay in this window, in nanoseconds
	missed atomic.Int64 // how many replies had not been sent when the deadline came
	timing atomic.Bool  // an ordinary reply is being timed
	warned sync.Once    // logs once that a reply missed its deadline

	mu     sync.Mutex
	before time.Duration // the longest delay in the previous window
	since  time.Time     // when this window began
}

const latenessWindow = 15 * time.Second

// saw records a measured delay. It is called often; most calls cost one atomic load.
func (l *lateness) saw(late time.Duration) {
	for old := l.worst.Load(); int64(late) > old; old = l.worst.Load() {
		if l.worst.CompareAndSwap(old, int64(late)) {
			return
		}
	}
}

// at returns the longest delay that was recorded in the 15 to 30 seconds before now.
func (l *lateness) at(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch age := now.Sub(l.since); {
	case age > 2*latenessWindow:
		l.worst.Store(0)
		l.before, l.since = 0, now
	case age > latenessWindow:
		l.before, l.since = time.Duration(l.worst.Swap(0)), now
	}
	return max(l.before, time.Duration(l.worst.Load()))
}
