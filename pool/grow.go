package pool

import "time"

// planLocked says how many dials to start now, and counts them as begun.
func (a *admission) planLocked(now time.Time) (dials int) {
	most := maxDials
	if a.lack.full || a.aloneLocked(now) {
		most = 1
	}
	for !a.closed && a.dialing < most && len(a.conns)+a.dialing < a.max && a.dialLocked(now) {
		a.limit = max(a.limit, len(a.conns)+a.dialing+1)
		a.dialing++
		a.grewAt, a.debt = now, debt{}
		dials++
	}
	a.recheckLocked()
	a.watchLocked()
	return dials
}

// dialLocked says whether one more dial is wanted.
func (a *admission) dialLocked(now time.Time) bool {
	conns, resting := len(a.conns)+a.dialing, now.Before(a.notBefore)
	switch {
	case conns < a.floor && !resting:
		return true
	case a.queue.turns() <= a.dialing:
		return false
	case resting:
		return false
	}
	return conns < a.limit || a.demandLocked(now).grow()
}

func (a *admission) demandLocked(now time.Time) demand {
	a.debt.add(0, now)
	d := demand{
		waiting:   a.queue.turns() - a.dialing,
		conns:     len(a.conns) + a.dialing,
		dialing:   a.dialing,
		leastHold: a.leastHold.d,
		dial:      a.dial.d,
		stalled:   a.stalled,
		debt:      a.debt.d,
	}
	if !a.busySince.IsZero() {
		d.busy, d.sinceDial = now.Sub(a.busySince), now.Sub(a.grewAt)
	}
	return d
}

// recheckLocked sees to it that the question is asked again when nothing comes
// free: no other event would ask it.
func (a *admission) recheckLocked() {
	wanted := a.queue.turns() > a.dialing || len(a.conns)+a.dialing < a.floor
	if a.closed || a.rechecking || !wanted || len(a.conns)+a.dialing >= a.max {
		return
	}
	a.rechecking, a.freed = true, false
	if a.recheck == nil {
		a.recheck = time.AfterFunc(stallTick, a.checkAgain)
	} else {
		a.recheck.Reset(stallTick)
	}
}

func (a *admission) checkAgain() {
	a.mu.Lock()
	a.rechecking = false
	switch {
	case a.queue.len == 0:
		a.stalled = 0
	case !a.freed && a.washing == 0: // what is being reset comes free in a round trip
		a.stalled += stallTick
		if a.dialing == 0 { // else they wait for that
			a.debt.add(time.Duration(a.queue.next())*stallTick, a.now())
		}
	}
	dials := a.planLocked(a.now())
	a.mu.Unlock()
	a.start(dials)
}

// freedLocked notes that a connection came free.
func (a *admission) freedLocked() { a.stalled, a.freed = 0, true }

// setFloor has n connections opened, and reopened, without waiting for demand.
// It is how Warm, MinConns and MinIdleConns are served.
func (a *admission) setFloor(n int) {
	a.mu.Lock()
	a.floor = n
	dials := a.planLocked(a.now())
	a.mu.Unlock()
	a.start(dials)
}

// replace has a connection dialed for one that is about to be closed, if there is room for both.
func (a *admission) replace() bool {
	a.mu.Lock()
	now := a.now()
	room := !a.closed && a.dialing < maxDials && len(a.conns)+a.dialing < a.max && !now.Before(a.notBefore)
	if room {
		a.limit = max(a.limit, len(a.conns)+a.dialing+1)
		a.dialing++
		a.grewAt = now
	}
	a.mu.Unlock()
	if room {
		a.startDial()
	}
	return room
}

func (a *admission) start(dials int) {
	for range dials {
		a.startDial()
	}
}
