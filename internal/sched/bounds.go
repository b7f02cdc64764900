package sched

import "time"

// Borrow takes the idle connection that was used last, for the pool's own use: Release or Drop follows. It returns nil if no connection is idle.
func (s *Scheduler) Borrow() *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.stock.pop()
}

// Waits reports whether somebody waits for a connection.
func (s *Scheduler) Waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.queue.len > 0
}

// SetFloor has n connections kept open without demand.
func (s *Scheduler) SetFloor(n int) {
	s.mu.Lock()
	defer s.unlock()
	s.core.setFloor(n, s.now())
}

func (k *core) setFloor(n int, now time.Time) {
	k.growth.floor = n
	k.plan(now)
}

// SetCeiling sets how many connections there may be from now on. If n is above Max, Max counts. Connections above n are closed: idle ones at once, the
// others when their users are done. Requests that wait go on waiting, also with a ceiling of 0, which ends with the next call.
func (s *Scheduler) SetCeiling(n int) {
	s.mu.Lock()
	defer s.unlock()
	s.core.setCeiling(n, s.now())
}

func (k *core) setCeiling(n int, now time.Time) {
	was := k.growth.limit
	k.growth.allow(n)
	k.moved(was, MovedByCeiling)
	for len(k.stock.idle) > 0 && k.isOver() {
		k.discard(k.stock.shift())
	}
	k.plan(now)
}

// Replace begins a dial for a connection that is about to be closed, and reports whether there was room for both.
func (s *Scheduler) Replace() bool {
	s.mu.Lock()
	defer s.unlock()
	return s.core.replace(s.now())
}

func (k *core) replace(now time.Time) bool {
	return !k.closed && !k.outage.isResting(now) && k.dial(maxDials, now)
}
