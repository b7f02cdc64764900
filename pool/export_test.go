package pool

import "time"

// NeverSlow has reads ride however long they took before, and as many as there is
// room for: on a busy machine any statement can look slow. Call it before use.
func (p *Pool) NeverSlow() {
	p.lanes.catalog.slow = time.Hour
	p.adm.maxFlightTime = time.Hour
}

// SlowAbove moves the bound.
func (p *Pool) SlowAbove(d time.Duration) { p.lanes.catalog.slow = d }
