package sched

import "time"

// The growth rule: when is waiting dearer than dialing?
//
// A dial pays only for those who still wait when it is done, and what it opens
// then stays: memory and a process on the server. pgxpool dials for everybody
// who finds no idle connection, so 64 statements of 1 ms that arrive together
// open 64 connections. Here a burst of short statements just drains, while
// connections that are held for longer than a dial takes get company at once.
const (
	// maxDials is how many dials run at once. Two keep a slow dial from holding
	// everybody up; more would be the stampede that the rule exists to avoid.
	maxDials = 2

	// minDialCost is the least that a dial is taken to cost. On loopback it
	// takes 2 to 5 ms on our side, with TLS and SCRAM across a network 10 to
	// 30, but the server pays for a process, its caches and its memory, which
	// our clock does not see.
	minDialCost = 25 * time.Millisecond

	// patience is how many dials' time a burst may take to drain through the
	// connections that are there.
	patience = 4

	// sustained is how long the pool must have been busy, with somebody queued and
	// nothing idle, for that to be load rather than a burst: waiting goes on then, and
	// is dearer than any dial. From there on the pool grows by one connection each
	// growthStep, so that it can be seen whether there is still a queue.
	sustained  = 250 * time.Millisecond
	growthStep = 50 * time.Millisecond

	// stallTick is how often it is looked whether anything came free. A stall
	// is counted in ticks, not read off the clock: when the whole process was
	// held up, the clock would blame the connections.
	stallTick = 5 * time.Millisecond
)

// demand is what the growth rule looks at.
type demand struct {
	waiting   int           // turns that the queue needs and no dial under way will take
	conns     int           // connections there are, and dials under way
	dialing   int           // of these, dials
	leastHold time.Duration // how long a connection is held at the least, lately
	dial      time.Duration // how long a dial usually takes
	stalled   time.Duration // for how long somebody has waited and nothing came free
	debt      time.Duration // what such waits have come to lately, of all whom one connection more would have served
	busy      time.Duration // for how long somebody has queued and nothing was idle
	sinceDial time.Duration // since the last dial was begun
}

// grow says whether one more connection is worth its dial.
func (d demand) grow() bool {
	if d.waiting <= 0 {
		return false
	}
	if d.conns == 0 {
		return true
	}
	dial := max(d.dial, minDialCost)
	// Had we dialed when the first waiter came, it would be served by now, so
	// from here on waiting has cost more than dialing: the break-even of "rent
	// or buy", which is never worse than twice the best choice in hindsight.
	if d.conns > d.dialing && d.stalled >= dial {
		return true
	}
	// Stalls that are too short for that, such as behind one statement of 20 ms in a
	// hundred, are as dear when they have come to as much: of each caller, since reads
	// that wait together would have flown together.
	if d.conns > d.dialing && d.debt >= dial {
		return true
	}
	// With no connection yet there is only a dial to wait for. One that takes four
	// times as long as dials do may hang; the other need not.
	if d.conns == d.dialing && d.stalled >= patience*dial {
		return true
	}
	if d.busy >= sustained && d.sinceDial >= growthStep {
		return true
	}
	// A burst, by the least hold: what the average is above it is mostly waiting
	// for the same CPUs, which another connection makes longer.
	return time.Duration(d.waiting)*d.leastHold/time.Duration(d.conns) > patience*dial
}

// average is an exponentially weighted moving average: each value counts for an
// eighth, so one outlier does not move it much and a change shows within ten.
type average struct {
	d   time.Duration
	any bool
}

func (a *average) add(d time.Duration) {
	if !a.any {
		a.d, a.any = d, true
		return
	}
	a.d += (d - a.d) / 8
}

// debt is a sum of which half is forgiven each second.
type debt struct {
	d  time.Duration
	at time.Time
}

func (s *debt) add(d time.Duration, now time.Time) {
	for ; s.d > 0 && now.Sub(s.at) >= time.Second; s.at = s.at.Add(time.Second) {
		s.d /= 2
	}
	if s.d == 0 {
		s.at = now
	}
	s.d += d
}

// least is the smallest of the last values, or so: it follows a smaller one at once
// and a larger one by a sixty-fourth.
type least struct {
	d   time.Duration
	any bool
}

func (l *least) add(d time.Duration) {
	if !l.any || d < l.d {
		l.d, l.any = d, true
		return
	}
	l.d += (d - l.d) / 64
}
