package pool

import (
	"fmt"
	"sync/atomic"

	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
)

// health is what the pool knows of its server from its connections and dials.
type health struct {
	losses atomic.Int64 // connections that were lost, not by us
	hasty  atomic.Bool  // since the last dial that went well one was lost, or the server is away
	met    atomic.Bool  // a dial has gone well, ever
}

// lost notes that a connection was lost.
func (h *health) lost() {
	h.losses.Add(1)
	h.hasty.Store(true)
}

// answers notes that a dial has gone well.
func (h *health) answers() {
	h.met.Store(true)
	h.hasty.Store(false)
}

// lackOf is what a dial that failed with err comes to.
func (p *Pool) lackOf(err error) sched.Lack {
	switch away, always := pgerr.IsAway(err); {
	case pgerr.IsFull(err):
		return sched.Lack{Err: pgerr.Full(err, int(p.cfg.MaxConns)), Full: true}
	case away && (always || p.health.met.Load()): // otherwise it may never have been there
		return sched.Lack{Err: fmt.Errorf("%w: %w", ErrServerAway, err)}
	}
	return sched.Lack{}
}
