package pool

import "time"

// boardLocked takes from the queue the reads of f's next group.
func (a *admission) boardLocked(f *flight, now time.Time) []*waiter {
	riders := make([]*waiter, 0, min(a.queue.riders, maxFlight))
	var expect time.Duration
	for w := a.queue.head; w != nil && a.queue.riders > 0 && len(riders) < maxFlight; {
		next := w.next
		if r := w.ride; r != nil {
			if expect += r.expect; expect > a.maxFlightTime && len(riders) > 0 {
				break
			}
			a.queue.remove(w)
			w.flight = f
			f.aboard.Add(1)
			riders = append(riders, w)
			a.servedLocked(w, now)
		}
		w = next
	}
	return riders
}

// decided reports whether it makes no difference to the next group who else comes: as many
// reads wait as a flight can take, or a lease is next and there is no group.
func (a *admission) decided() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.queue.riders >= maxFlight || a.queue.head != nil && a.queue.head.ride == nil
}

// nextGroup returns who boards f next, and whether a lease waits behind them; nobody if
// its turn is over, because the head of the queue is a lease or there is none. A read that
// has no company gets the connection for itself.
func (a *admission) nextGroup(f *flight) (group []*waiter, landing bool) {
	c := f.c
	expired := c.expired()
	now := a.now()
	a.mu.Lock()
	w := a.queue.head
	if a.closed || expired || c.lease != f.l || w == nil || w.ride == nil || a.queue.riders == 1 && !c.lane.guard.session {
		a.mu.Unlock()
		return nil, false
	}
	// To the growth rule each group is a turn of its own.
	a.hold.add(now.Sub(c.since))
	c.since = now
	a.freedLocked()
	group = a.boardLocked(f, now)
	landing = a.queue.len > a.queue.riders
	dials := a.planLocked(now)
	a.mu.Unlock()
	a.start(dials)
	return group, landing
}
