package sched

import "context"

// outside are connections that somebody else dials, and that count under the ceiling like the scheduler's own: those of the pool's companion. Each has a
// place, from the beginning of its dial until the server has let go of it.
type outside struct {
	kept int           // how many places Reserve keeps for them
	open int           // how many of them are open, being dialed, or waiting for a place
	used int           // how many places they have, those that are being closed included
	room chan struct{} // is closed when there may be a place; nil if nobody waits
}

// most returns how many places of n they may have. One is left to the scheduler.
func (o *outside) most(n int) int { return max(0, min(max(o.kept, o.open), n-1)) }

// takes returns how many places of n the scheduler does not have because of them.
func (o *outside) takes(n int) int { return max(o.most(n), o.used) }

// hasPlace reports whether there is a place for one more connection outside.
func (k *core) hasPlace() bool {
	o, n := &k.growth.outside, k.growth.places()
	return o.used < o.most(n) && len(k.stock.all)+k.growth.dialing+o.used < n
}

// Reserve keeps n places under the ceiling for connections outside. The scheduler's own connections above the rest are closed, as after SetCeiling.
func (s *Scheduler) Reserve(n int) { s.outside(func(o *outside) { o.kept = n }) }

// TakePlace takes a place for a connection outside. It waits until the scheduler's own connections have made room, or returns ctx's error, or ErrClosed.
// If all places that Reserve keeps belong to connections that are open, one more is kept while there is such a connection.
func (s *Scheduler) TakePlace(ctx context.Context) (err error) {
	s.outside(func(o *outside) { o.open++ })
	for {
		s.mu.Lock()
		o, has, closed := &s.core.growth.outside, s.core.hasPlace(), s.core.closed
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
	s.mu.Lock()
	defer s.unlock()
	change(&s.core.growth.outside)
	s.core.setCeiling(s.core.growth.allowed, s.now())
}

// wakeOutside lets those who wait for a place look again, if there may be one. mu must be held.
func (s *Scheduler) wakeOutside() {
	if o := &s.core.growth.outside; o.room != nil && (s.core.closed || s.core.hasPlace()) {
		close(o.room)
		o.room = nil
	}
}
