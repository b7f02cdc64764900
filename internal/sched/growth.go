package sched

import "time"

// growth is how many connections there may be, and what the growth rule is told.
type growth struct {
	max     int
	limit   int
	floor   int // this many are kept open without demand
	dialing int

	hold, dial average
	leastHold  least
	stalled    time.Duration // how long somebody has waited with nothing coming free
	wasFreed   bool          // something came free since it was last asked whether to grow
	debt       debt          // of short stalls
	busySince  time.Time     // since when somebody has queued and no connection was idle
	grewAt     time.Time     // when a dial was last begun
	washing    int           // connections that are being cleaned in the background
	checking   bool          // tick will be called
}

func newGrowth(most int) growth { return growth{max: most, limit: 1} }

// begin begins a dial, if there is room beside open connections and most dials.
func (g *growth) begin(open, most int, now time.Time) bool {
	if g.dialing >= most || open+g.dialing >= g.max {
		return false
	}
	g.limit = max(g.limit, open+g.dialing+1)
	g.dialing++
	g.grewAt = now
	return true
}

func (g *growth) dialed(took time.Duration) { g.dial.add(took) }

func (g *growth) dialEnded() { g.dialing-- }

// lower has the growth rule decide anew from n connections on.
func (g *growth) lower(n int) { g.limit = max(1, n) }

// wants says whether one more dial is wanted beside open connections. resting: none is to begin.
func (g *growth) wants(q *queue, open int, resting bool, now time.Time) bool {
	conns := open + g.dialing
	switch {
	case conns < g.floor && !resting:
		return true
	case q.turns() <= g.dialing:
		return false
	case resting:
		return false
	}
	return conns < g.limit || g.demand(q, conns, now).grow()
}

func (g *growth) demand(q *queue, conns int, now time.Time) demand {
	g.debt.add(0, now)
	d := demand{
		waiting:   q.turns() - g.dialing,
		conns:     conns,
		dialing:   g.dialing,
		leastHold: g.leastHold.d,
		dial:      g.dial.d,
		stalled:   g.stalled,
		debt:      g.debt.d,
	}
	if !g.busySince.IsZero() {
		d.busy, d.sinceDial = now.Sub(g.busySince), now.Sub(g.grewAt)
	}
	return d
}

// paid notes that a dial has begun for what the queue had come to.
func (g *growth) paid() { g.debt = debt{} }

// check reports whether the question is to be asked again when nothing comes
// free, with tick: no other event would ask it.
func (g *growth) check(q *queue, open int) bool {
	wanted := q.turns() > g.dialing || open+g.dialing < g.floor
	if g.checking || !wanted || open+g.dialing >= g.max {
		return false
	}
	g.checking, g.wasFreed = true, false
	return true
}

// tick is what check has asked for.
func (g *growth) tick(q *queue, now time.Time) {
	g.checking = false
	switch {
	case q.len == 0:
		g.stalled = 0
	case !g.wasFreed && g.washing == 0: // what is being cleaned comes free in a round trip
		g.stalled += stallTick
		if g.dialing == 0 { // else they wait for that
			g.debt.add(time.Duration(q.next())*stallTick, now)
		}
	}
}

// freed notes that a connection came free.
func (g *growth) freed() { g.stalled, g.wasFreed = 0, true }

// held notes that a connection came free that had been held for d.
func (g *growth) held(d time.Duration) {
	g.hold.add(d)
	g.leastHold.add(d)
	g.freed()
}

// queues notes that somebody queues.
func (g *growth) queues(now time.Time) {
	if g.busySince.IsZero() {
		g.busySince = now
	}
}

// rests notes that a connection is idle.
func (g *growth) rests() { g.busySince = time.Time{} }

func (g *growth) washes(n int) { g.washing += n }

func (g *growth) setFloor(n int) { g.floor = n }
