package sched

import "time"

// The growth rule: when does waiting cost more than dialing? A dial helps only those who still wait when it is done. The connection that it opens
// stays, and costs the server memory and a process.
const (
	// maxDials is how many dials run at once. With two, a slow one does not hold everybody up; more would flood the server.
	maxDials = 2
	// minDialCost is the least that a dial counts for. It takes us 2 to 5 ms on loopback, and 10 to 30 with TLS and SCRAM across a network. But the
	// server also pays, for a process, its caches and its memory, and our clock does not see that.
	minDialCost = 25 * time.Millisecond
	// patience is how many times a dial's duration a burst may take to drain through the connections that are there.
	patience = 4
	// sustained is when a burst becomes load: nothing was idle for this long since somebody queued. (The queue need not have been full all the time:
	// it is empty for a moment whenever a group boards.) From then on one connection is added each growthStep, to see whether it ends the queue.
	sustained  = 250 * time.Millisecond
	growthStep = 50 * time.Millisecond
	// stallTick is how often the queue is checked for a stall. A stall is a count of ticks, not a time by the clock: if the whole process was held
	// up, that is not the connections' fault.
	stallTick = 5 * time.Millisecond
)

// growth is how many connections there may be, and what the growth rule needs to know.
type growth struct {
	max     int
	limit   int
	floor   int // as many are kept open without demand
	dialing int // dials that run

	hold, dial average
	leastHold  least
	stalled    time.Duration // how long nothing has come free while somebody waited
	wasFreed   bool          // a connection came free since the last tick
	debt       debt          // what short stalls have cost
	busySince  time.Time     // when somebody queued, if nothing was idle since; zero: something was
	grewAt     time.Time     // when the last dial began
	washing    int           // connections that are being cleaned in the background
	checking   bool          // tick will be called
}

func newGrowth(most int) growth { return growth{max: most, limit: 1} }

// begin counts one more dial, if there is room beside open connections and fewer than most dials run.
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

// lower sets the limit to n: the growth rule decides about each connection beyond that.
func (g *growth) lower(n int) { g.limit = max(1, n) }

// wants reports whether one more dial is wanted beside open connections.
func (g *growth) wants(q *queue, open int, now time.Time) bool {
	conns := open + g.dialing
	return conns < g.floor || q.turns() > g.dialing && (conns < g.limit || g.grow(q.turns()-g.dialing, conns, now))
}

// grow reports whether one more connection than conns, which includes dials, is worth a dial. waiting is how many turns no dial is under way for.
func (g *growth) grow(waiting, conns int, now time.Time) bool {
	g.debt.add(0, now)
	dial := max(g.dial.d, minDialCost)
	switch {
	case waiting <= 0:
		return false
	case conns == 0:
		return true
	case conns == g.dialing && g.stalled >= patience*dial:
		// Only dials are there to wait for. One that takes four times as long as usual may hang, and a second one need not.
		return true
	case conns > g.dialing && (g.stalled >= dial || g.debt.d >= dial):
		// A dial begun when the first waiter came would be done by now. So waiting has cost as much as a dial: this is the break-even point of "rent
		// or buy", whose total cost is at most twice that of the best choice in hindsight. Short stalls, as behind a statement of 20 ms now and then,
		// count once their sum is a dial's cost. Each stall counts for as many callers as one connection would have served at once: so three
		// statements of 20 ms on three connections open the fourth for the reads behind them.
		return true
	case !g.busySince.IsZero() && now.Sub(g.busySince) >= sustained && now.Sub(g.grewAt) >= growthStep:
		return true
	}
	// A burst is measured by the least hold. The average is longer mostly because statements wait for CPUs, and one more connection makes that worse.
	return time.Duration(waiting)*g.leastHold.d/time.Duration(conns) > patience*dial
}

// check reports whether tick must be called: a dial may be wanted later, and if nothing comes free no other event would look at that.
func (g *growth) check(q *queue, open int) bool {
	wanted := q.turns() > g.dialing || open+g.dialing < g.floor
	if g.checking || !wanted || open+g.dialing >= g.max {
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
	case !g.wasFreed && g.washing == 0: // a connection that is being cleaned comes free in a round trip
		g.stalled += stallTick
		if g.dialing == 0 { // else the dial will serve them
			g.debt.add(time.Duration(q.next())*stallTick, now)
		}
	}
}

// freed notes that a connection came free.
func (g *growth) freed() { g.stalled, g.wasFreed = 0, true }

// held notes that a connection came free after a hold of d.
func (g *growth) held(d time.Duration) {
	g.hold.add(d)
	g.leastHold.add(d)
	g.freed()
}

// average is a moving average to which each value contributes an eighth: one outlier moves it little, and a change shows within ten values. The first
// value is taken as it is.
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
