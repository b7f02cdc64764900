package sched

import (
	"context"
	"time"
)

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
	s.event(func(k *core, now time.Time) { k.setFloor(n, now) })
}

func (k *core) setFloor(n int, now time.Time) {
	k.growth.floor = n
	k.plan(now)
}

// SetCeiling sets how many connections there may be from now on. If n is above Max, Max counts. Connections above n are closed: idle ones at once, the
// others when their users are done. Requests that wait go on waiting, also with a ceiling of 0, which ends with the next call.
func (s *Scheduler) SetCeiling(n int) {
	s.event(func(k *core, now time.Time) { k.setCeiling(n, now) })
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

// Reserve keeps n places under the ceiling for connections outside. The scheduler's own connections above the rest are closed, as after SetCeiling.
func (s *Scheduler) Reserve(n int) { s.outside(func(o *outside) { o.kept = n }) }

// TakePlace takes a place for a connection outside. It waits until the scheduler's own connections have made room, or returns ctx's error, or ErrClosed.
// If all places that Reserve keeps belong to connections that are open, one more is kept while there is such a connection.
func (s *Scheduler) TakePlace(ctx context.Context) (err error) {
	s.outside(func(o *outside) { o.open++ })
	for {
		s.mu.Lock()
		o, has, closed := &s.core.growth.outside, s.core.growth.hasPlaceOutside(len(s.core.stock.all)), s.core.closed
		switch {
		case closed:
			err = ErrClosed
		case has:
			o.used++
		case o.room == nil:
			o.room = make(chan struct{})
		}
		room := o.room
		s.mu.Unlock()
		if has && !closed {
			return nil
		}
		if err == nil {
			select {
			case <-room:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		s.outside(func(o *outside) { o.open-- })
		return err
	}
}

// LeavePlace notes that a connection with a place is being closed. FreePlace gives its place back, because the server has closed it.
func (s *Scheduler) LeavePlace() { s.outside(func(o *outside) { o.open-- }) }
func (s *Scheduler) FreePlace()  { s.outside(func(o *outside) { o.used-- }) }

// Places returns how many places connections outside have, how many they may have now, and how many connections there may be in all.
func (s *Scheduler) Places() (used, most, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, n := &s.core.growth.outside, s.core.growth.places()
	return o.used, o.most(n), n
}

// outside changes what is outside, and closes connections for which there is no place any more.
func (s *Scheduler) outside(change func(*outside)) {
	s.event(func(k *core, now time.Time) {
		change(&k.growth.outside)
		k.setCeiling(k.growth.allowed, now)
	})
}
