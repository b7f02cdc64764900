package sched

import "time"

// The growth rule: when is waiting dearer than dialing? A dial pays only for those who still wait when it is done, and what it opens
// then stays: memory and a process on the server.
const (
	// maxDials is how many dials run at once. Two keep a slow dial from holding everybody up; more would be a stampede.
	maxDials = 2
	// minDialCost is the least that a dial is taken to cost. On loopback it takes 2 to 5 ms on our side, with TLS and SCRAM across a
	// network 10 to 30, but the server pays for a process, its caches and its memory, which our clock does not see.
	minDialCost = 25 * time.Millisecond
	// patience is how many dials' time a burst may take to drain through the connections that are there.
	patience = 4
	// sustained is how long somebody must have queued and nothing been idle for that to be load and no burst: waiting goes on then, and is
	// dearer than any dial. (That the queue itself was never empty would not do: it is, for a moment, whenever a group has boarded.) From
	// there on there is one connection more each growthStep, so that it can be seen whether there is still a queue.
	sustained  = 250 * time.Millisecond
	growthStep = 50 * time.Millisecond
	// stallTick is how often it is looked whether anything came free. A stall is counted in ticks, not read off the clock: when the whole
	// process was held up, the clock would blame the connections.
	stallTick = 5 * time.Millisecond
)

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
	busySince  time.Time     // since when somebody has queued and no connection was idle; zero: nobody has
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

func (g *growth) dialEnded() { g.dialing-- }

// lower has the growth rule decide anew from n connections on.
func (g *growth) lower(n int) { g.limit = max(1, n) }

// wants says whether one more dial is wanted beside open connections.
func (g *growth) wants(q *queue, open int, now time.Time) bool {
	conns := open + g.dialing
	return conns < g.floor || q.turns() > g.dialing && (conns < g.limit || g.grow(q.turns()-g.dialing, conns, now))
}

// grow says whether one more connection than conns, dials included, is worth its dial: waiting turns are not taken by any of these.
func (g *growth) grow(waiting, conns int, now time.Time) bool {
	g.debt.add(0, now)
	dial := max(g.dial.d, minDialCost)
	switch {
	case waiting <= 0:
		return false
	case conns == 0:
		return true
	case conns == g.dialing && g.stalled >= patience*dial:
		// There is only a dial to wait for. One that takes four times as long as dials do may hang; the other need not.
		return true
	case conns > g.dialing && (g.stalled >= dial || g.debt.d >= dial):
		// Had we dialed when the first waiter came, it would be served by now, so from here on waiting has cost more than dialing: the
		// break-even of "rent or buy", at most twice as dear as the best choice in hindsight. Stalls that are too short for that, such as
		// behind one statement of 20 ms in a hundred, are as dear when they have come to as much lately: of each caller, since reads that
		// wait together would have flown together. So three statements of 20 ms in three connections open the fourth for the reads behind.
		return true
	case !g.busySince.IsZero() && now.Sub(g.busySince) >= sustained && now.Sub(g.grewAt) >= growthStep:
		return true
	}
	// A burst, by the least hold: what the average is above it is mostly waiting for the same CPUs, which another connection makes longer.
	return time.Duration(waiting)*g.leastHold.d/time.Duration(conns) > patience*dial
}

// check reports whether the question is to be asked again when nothing comes free, with tick: no other event would ask it.
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

// average is an exponentially weighted moving average: each value counts for an eighth, so one outlier does not move it much and a change
// shows within ten. The first is taken as it is.
type average struct {
	d   time.Duration
	any bool
}

func (a *average) add(d time.Duration) { a.follow(d, 8) }

func (a *average) follow(d, part time.Duration) {
	if !a.any {
		a.any, part = true, 1
	}
	a.d += (d - a.d) / part
}

// least is the smallest of the last values, or so: it follows a smaller one at once and a larger one by a sixty-fourth.
type least struct{ average }

func (l *least) add(d time.Duration) {
	part := time.Duration(64)
	if d < l.d {
		part = 1
	}
	l.follow(d, part)
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
