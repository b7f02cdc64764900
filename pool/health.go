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

// health is what the pool knows of its server from its connections and dials.
type health struct {
	losses    atomic.Int64 // connections that were lost, not by us
	shortDial atomic.Bool  // since the last dial that went well one was lost, or the server is away
	met       atomic.Bool  // a dial has gone well, ever
	failovers atomic.Int64 // how often the server turned out to be no writer any more
}

// lost notes that a connection was lost.
func (h *health) lost() {
	h.losses.Add(1)
	h.shortDial.Store(true)
}

// turned notes that the server, which is to be a writer, is none any more.
func (h *health) turned() {
	h.failovers.Add(1)
	h.shortDial.Store(true)
}

// answers notes that a dial has gone well.
func (h *health) answers() {
	h.met.Store(true)
	h.shortDial.Store(false)
}

// dialFailed notes that a dial has failed with err, where the pool wants up to conns connections, and returns what that comes to.
func (h *health) dialFailed(err error, conns int) sched.Lack {
	switch away, always := pgerr.IsAway(err); {
	case pgerr.IsFull(err):
		return sched.Lack{Err: pgerr.Full(err, conns), Full: true}
	case away && (always || h.met.Load()): // otherwise it may never have been there
		h.shortDial.Store(true)
		return sched.Lack{Err: fmt.Errorf("%w: %w", ErrServerAway, err)}
	}
	return sched.Lack{}
}

// afterLoss is how long a read waits that is to run once more because its connection was
// lost. A server that stops ends all its sessions within moments, so another that still
// answers would be no better; and the read may run twice, not three times.
const afterLoss = 50 * time.Millisecond

// pause waits before try+1, unless ctx would end meanwhile.
func pause(ctx context.Context, try int) bool {
	d := 5 * time.Millisecond << min(try, 8)
	d = min(d, time.Second)
	return sleep(ctx, d/2+rand.N(d/2))
}

// sleep waits for d, unless ctx would end meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
