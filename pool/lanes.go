package pool

import (
	"slices"
	"sync/atomic"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
)

// lanes is what the lanes of a pool have in common.
type lanes struct {
	catalog   *catalog.Store
	baselines *facts.Baselines
	types     memrows.Pairs
	spare     spare

	rides, flights, refusals, reruns, shadow atomic.Int64

	alone catalog.Reasons
}

func newLanes(functions []string) *lanes {
	n := &lanes{}
	n.baselines = facts.NewBaselines(facts.Config{Allowed: facts.Allowed(functions), Rides: n.rides.Load, Lost: pgerr.IsLost})
	n.catalog = catalog.NewStore(n.baselines.Newest)
	return n
}

// flew counts a flight of n.
func (n *lanes) flew(riders int) {
	if riders > 0 {
		n.flights.Add(1)
		n.rides.Add(int64(riders))
	}
}

func (n *lanes) stat(s *Stat) {
	s.rides, s.flights, s.shadow = n.rides.Load(), n.flights.Load(), n.shadow.Load()
	s.refusals, s.reruns = n.refusals.Load(), n.reruns.Load()
	s.catalogChanges, s.unconfirmed = n.baselines.Changes(), n.baselines.Unconfirmed()
	s.alone = n.alone.All()
}

// leased is called with the end of a lease whose statement went alone while others
// waited. It notes how long the statement took, and has it looked at if it is new.
func (n *lanes) leased(l *Lease) {
	if l.took <= 0 {
		return
	}
	l.st.Took(l.took - l.p.sched.LeastHold())
	if l.c.lane != nil && l.st.Wants() && !slices.Contains(l.pending.unsure, l.st) {
		l.pending.insist(l.st)
	}
}
