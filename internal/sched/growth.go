package sched

import "time"

// The growth rule: when does waiting cost more than dialing? A dial helps those who still wait when it is done. Its connection stays, and costs a process.
const (
	// maxDials is how many dials run at once. With two, one slow dial does not hold everybody up; more than two would flood the server.
	maxDials = 2
	// minDialCost is the least that a dial counts for. By our clock a dial takes 2 to 5 ms on loopback, and 10 to 30 with TLS and SCRAM across a
	// network. But the server also pays for a process, its caches and its memory, and our clock does not show that.
	minDialCost = 25 * time.Millisecond
	// patience is how many times a dial's duration a burst may take to drain through the connections that are there.
	patience = 4
	// A burst counts as load when nothing was idle for sustained, since somebody queued. (The queue may have been empty meanwhile: it is empty for a
	// moment whenever a group boards.) From then on one connection is added each growthStep, to see whether that ends the queue. If there are more than
	// fewConns, more are added, in proportion: otherwise the tuner could begin only 3 s later.
	sustained  = 250 * time.Millisecond
	growthStep = 50 * time.Millisecond
	fewConns   = 8
	// stallTick is how often the queue is checked for a stall: somebody waits, and no connection comes free. A stall is a count of ticks and not a time
	// by the clock, because the clock also counts the time for which the whole process was held up.
	stallTick = 5 * time.Millisecond
)

// growth is how many connections there may be, and what the growth rule needs to know.
type growth struct {
	max     int
	allowed int // what SetCeiling was told last; max until then
	least   int // Config.Least
	limit   int
	floor   int // how many connections are kept open without demand
	dialing int // dials that run

	hold, dial average
	leastHold  least
	stalled    time.Duration // how long nothing has come free while somebody waited
	wasFreed   bool          // a connection came free since the last tick
	debt       debt          // what the stalls since the last dial have cost
	busySince  time.Time     // when somebody queued, if nothing was idle since then; else zero
	usedSince  time.Time     // when somebody queued or few connections were idle, if few were idle since then; else zero
	grewAt     time.Time     // when the last dial began
	washing    int           // connections that are being cleaned in the background
	checking   bool          // tick will be called, so it need not be asked for
	epochs     epochs
	outside    outside
}

func newGrowth(least, most int) growth {
	return growth{least: least, max: most, allowed: most, limit: 1, epochs: newEpochs()}
}

// places returns how many connections there may be now, those outside included.
func (g *growth) places() int { return max(0, min(g.max, g.allowed)) }

// ceiling returns how many connections there may be now.
func (g *growth) ceiling() int {
	n := g.places()
	return max(min(n, 1), n-g.outside.takes(n))
}

// allow sets the ceiling to n, as far as max allows it, and lowers the limit to it.
func (g *growth) allow(n int) {
	g.allowed = n
	g.limit = max(1, min(g.limit, g.ceiling()))
}

// begin counts one more dial and returns true. It returns false if the open connections and the dials are at the ceiling already, or if most dials run.
func (g *growth) begin(open, most int, now time.Time) bool {
	if g.dialing >= most || open+g.dialing >= g.ceiling() {
		return false
	}
	if !g.epochs.running { // then the tuner moves the limit
		g.limit = max(g.limit, open+g.dialing+1)
	}
	g.dialing++
	g.grewAt = now
	return true
}

func (g *growth) dialEnded() { g.dialing-- }

// lower sets the limit to n. From then on the growth rule decides about each connection beyond n, and no longer the tuner.
func (g *growth) lower(n int) {
	g.limit = max(1, n)
	g.epochs = newEpochs()
}

// tunes sets the limit to n, which the tuner has chosen.
func (g *growth) tunes(n int) { g.limit = n }

// room returns how many connections may be lent at once. If a holder waits for another one, that is all: what is lent may come free only after that.
func (g *growth) room(q *queue) int {
	if q.front != nil || q.inside > 0 {
		return g.ceiling()
	}
	return min(g.ceiling(), g.epochs.cap)
}

// wants reports whether one more dial is wanted. open is how many connections there are.
func (g *growth) wants(q *queue, open int, now time.Time) bool {
	conns := open + g.dialing
	return conns < g.floor || q.turns() > g.dialing && conns < g.room(q) &&
		(conns < g.limit || g.epochs.running && conns < g.epochs.cap || g.grow(q.turns()-g.dialing, conns, now))
}

// grow reports whether one more connection is worth a dial. conns is how many connections and dials there are. waiting is queued turns less dials.
func (g *growth) grow(waiting, conns int, now time.Time) bool {
	g.debt.add(0, now)
	dial := max(g.dial.d, minDialCost)
	switch {
	case waiting <= 0:
		return false
	case conns == 0:
		return true
	case conns == g.dialing && g.stalled >= patience*dial:
		// There is no connection yet, only dials. A dial that takes four times as long as usual may hang, and a second dial may not.
		return true
	case conns > g.dialing && (g.stalled >= dial || g.debt.d >= dial):
		// A dial begun when the first caller queued would be done by now, so waiting has cost as much as a dial. This is the break-even point of the
		// "rent or buy" problem: the total cost is at most twice that of the best choice in hindsight. Short stalls, as behind a statement of 20 ms,
		// count once their sum is a dial's cost. Each stall counts for as many callers as one more connection would have served at once. So three
		// statements of 20 ms on three connections lead to a fourth connection if many reads wait behind them.
		return true
	case !g.epochs.tuned && !g.busySince.IsZero() && now.Sub(g.busySince) >= sustained && now.Sub(g.grewAt) >= growthStep*fewConns/time.Duration(max(conns, fewConns)):
		return true
	}
	// A burst is measured by the least hold. The average is longer mostly because statements wait for CPUs, and one more connection makes that worse.
	return time.Duration(waiting)*g.leastHold.d/time.Duration(conns) > patience*dial
}

// check reports whether tick must be called. It must if a dial may be wanted later: if nothing comes free, no other event would find that out.
func (g *growth) check(q *queue, open int) bool {
	wanted := q.turns() > g.dialing || open+g.dialing < g.floor
	if g.checking || !wanted || open+g.dialing >= g.ceiling() {
		return false
	}
	g.checking, g.wasFreed = true, false
	return true
}

// tick is called a stallTick after check was true.
func (g *growth) tick(q *queue, now time.Time) {
	g.checking = false
	switch {
	case q.len == 0:
		g.stalled = 0
	case !g.wasFreed && g.washing == 0: // a connection that is being cleaned comes free after a round trip, so that is no stall
		g.stalled += stallTick
		if g.dialing == 0 { // a dial under way will serve those who wait
			g.debt.add(time.Duration(q.next())*stallTick, now)
		}
	}
}

// waits notes that somebody queued.
func (g *growth) waits(now time.Time) {
	if g.busySince.IsZero() {
		g.busySince = now
	}
	if g.usedSince.IsZero() {
		g.usedSince = now
	}
}

// unused notes that a connection came free and nobody waits. There are open connections, of which held are lent.
func (g *growth) unused(open, held int, now time.Time) {
	g.busySince = time.Time{}
	lent := min(open, g.ceiling(), g.epochs.cap)
	slack := idlePart*(lent-held) > lent
	if slack {
		g.usedSince = time.Time{}
	} else if g.usedSince.IsZero() {
		g.usedSince = now
	}
	g.epochs.lies(slack)
}

// freed notes that a connection came free.
func (g *growth) freed() { g.stalled, g.wasFreed = 0, true }

// held notes that a connection came free after a hold of d. present is how many requests wait, and how many connections are lent.
func (g *growth) held(d time.Duration, present int) {
	g.hold.add(d)
	g.leastHold.add(d)
	g.epochs.ends(present)
	g.freed()
}

// average is a moving average to which each value contributes an eighth: one outlier moves it little, and ten values after a change it is near the new
// value. The first value is taken as it is.
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

// least is about the smallest of the last values: a smaller one is taken at once, a larger one moves it by a sixty-fourth of the difference.
type least struct{ average }

func (l *least) add(d time.Duration) {
	part := time.Duration(64)
	if d < l.d {
		part = 1
	}
	l.follow(d, part)
}

// debt is a sum that is halved each second.
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

// hasPlaceOutside reports whether there is a place for one more connection outside, beside open connections of the scheduler's own.
func (g *growth) hasPlaceOutside(open int) bool {
	o, n := &g.outside, g.places()
	return o.used < o.most(n) && open+g.dialing+o.used < n
}
