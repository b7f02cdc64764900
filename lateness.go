package lmipool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/safelog"
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

// returned measures how long aws-lambda-go takes to send a reply that is returned now. The end is seen because aws-lambda-go then cancels ctx.
// returned measures one ordinary reply at a time, and every reply in a handler's place.
func (b *bulkhead) returned(ctx context.Context, ordinary bool) {
	l := &b.late
	if ctx.Err() != nil || requestID(ctx) == "" || ordinary && !l.timing.CompareAndSwap(false, true) {
		return
	}
	began := time.Now()
	context.AfterFunc(ctx, func() {
		now := time.Now()
		l.saw(now.Sub(began))
		if ordinary {
			l.timing.Store(false)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			l.missed.Add(1)
			l.warned.Do(func() {
				deadline, _ := ctx.Deadline()
				b.log.Error("lmipool: a reply that had been returned was not sent by its deadline; on managed instances Lambda then ends the environment. The CPU is short: give the function more, or fewer invocations at once",
					safelog.Ms("returned_before_deadline", deadline.Sub(began)), safelog.Ms("lateness", l.at(now)), safelog.Request(requestID(ctx)))
			})
		}
	})
}

// margins returns how long before the deadline fn's ctx ends (margin) and the stand-in replies (reply). left is the time until the deadline, and late
// is the recent lateness. A reply after the deadline ends the process, so reply is at least 4*late: the timer and the reply may each be late by late,
// and if many handlers overrun at once, their replies take up to twice as long as those that were measured. Lateness makes reply no longer than 3 s
// and a third of left.
func (b *bulkhead) margins(left, late time.Duration) (margin, reply time.Duration) {
	margin = b.margin
	if margin == 0 {
		margin = min(max(left/6, 100*time.Millisecond), time.Second)
	}
	margin = min(margin, left/2)
	reply = b.replyMargin
	if reply == 0 {
		reply = margin / 2
		gap := margin - reply
		reply = max(reply, min(4*late, left/3, maxReplyMargin))
		if b.margin == 0 {
			margin = min(max(margin, reply+gap), left/2)
		}
	}
	return margin, min(reply, margin)
}

// maxReplyMargin bounds a ReplyMargin that is computed from lateness, so that a busy CPU leaves handlers some time.
const maxReplyMargin = 3 * time.Second
