package pool

import "sync/atomic"

// stats are totals since New of what is not the scheduler's to count.
type stats struct {
	aged      atomic.Int64 // connections that were closed for their age
	unused    atomic.Int64 // and for want of work
	unclean   atomic.Int64 // and because their session could not be cleaned
	resets    atomic.Int64
	leaks     atomic.Int64
	failovers atomic.Int64
}

func (n *stats) stat(s *Stat) {
	s.aged, s.unused, s.unclean = n.aged.Load(), n.unused.Load(), n.unclean.Load()
	s.resets, s.leaks, s.failovers = n.resets.Load(), n.leaks.Load(), n.failovers.Load()
}
