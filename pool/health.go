package pool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
)

// health is what the pool has learnt about its server from its connections and dials.
type health struct {
	losses    atomic.Int64 // connections that ended, but not because the pool closed them
	shortDial atomic.Bool  // since the last successful dial a connection was lost or the server was away, so dials get less time
	met       atomic.Bool  // a dial has succeeded since New
	failovers atomic.Int64 // how often the pool noticed that its server was no writer any more
}

// lost notes that a connection was lost.
func (h *health) lost() {
	h.losses.Add(1)
	h.shortDial.Store(true)
}

// turned notes that the server is no writer any more, although the pool needs one.
func (h *health) turned() {
	h.failovers.Add(1)
	h.shortDial.Store(true)
}

// answers notes that a dial has succeeded.
func (h *health) answers() {
	h.met.Store(true)
	h.shortDial.Store(false)
}

// dialFailed notes that a dial has failed with err, and tells the scheduler whether the server is full or away. conns is MaxConns.
func (h *health) dialFailed(err error, conns int) sched.Lack {
	switch away, always := pgerr.IsAway(err); {
	case pgerr.IsFull(err):
		return sched.Lack{Err: pgerr.Full(err, conns), Full: true}
	case away && (always || h.met.Load()): // a server that was never reached may be the wrong one
		h.shortDial.Store(true)
		return sched.Lack{Err: fmt.Errorf("%w: %w", ErrServerAway, err)}
	}
	return sched.Lack{}
}

// afterLoss is how long a read whose connection was lost waits before it runs once more. A server that stops ends all its sessions within moments, so
// without the wait the second and last try could get another connection that is about to end.
const afterLoss = 50 * time.Millisecond

// pause waits before the try after this one: 5 ms, then twice as long each time, up to 1 s, half of it at random. It returns what sleep returns.
func pause(ctx context.Context, try int) bool {
	d := 5 * time.Millisecond << min(try, 8)
	d = min(d, time.Second)
	return sleep(ctx, d/2+rand.N(d/2))
}

// sleep waits for d. It returns false if ctx ends before that, and at once if ctx's deadline is not later.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
