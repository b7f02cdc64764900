package sched

import "time"

// The epochs are the tuner at work.
const (
	// An epoch takes as long as two holds, within these bounds, give or take a quarter, so that the environments of a fleet do not vary their limits at
	// the same time. The scatter of a pair's result falls with the root of its time, so many short pairs tell as much as few long ones, and the tuner
	// need not wait for the end of a long one.
	leastEpoch = 40 * time.Millisecond
	mostEpoch  = time.Second
	// longHold is the longest average hold with which there are epochs. With longer holds a decision would take minutes.
	longHold = 250 * time.Millisecond
	// mostSettles is how often the connections are waited for until as many are open and lent as the epoch wants. Then it is measured as it is.
	mostSettles = 8
	// spare is how many connections beyond the limit stay open, for the next probe.
	spare = 2
	// In an epoch callers wait all the time if at most one in fullPart turns ended while nobody waited. The connections are in use all the time if at most
	// one in fullPart turns left more than an idlePart-th of them idle. After mostEmpty epochs in a row in which they are not, the load is over.
	fullPart  = 50
	idlePart  = 4
	mostEmpty = 6
	noCap     = 1 << 30
)

// epochs run while callers wait all the time, or the connections are in use all the time. Then cap bounds how many are lent at once.
type epochs struct {
	cap     int  // how many connections may be lent at once
	running bool // there are epochs
	tuned   bool // the tuner has moved the limit, or left it as it is; the growth rule has not changed it since
	tuner   tuner

	counts
	then     counts    // the counts when the measured part of the epoch began
	measures bool      // the measured part has begun; before that the connections settle to cap
	began    time.Time // when the present part began
	settles  int       // how often the connections had not settled yet
	empty    int       // how many epochs in a row were not full
}

// counts are counted since the pool began.
type counts struct {
	served  int // how many requests were lent a connection, or boarded a group
	turns   int // how many turns have ended
	present int // the sum, over the ends of turns, of how many requests waited then and how many connections were lent
	unused  int // how many turns ended when nobody waited
	slack   int // how many of these left more than an idlePart-th of the connections idle
}

func newEpochs() epochs { return epochs{cap: noCap} }

// ends counts the end of a turn. present is how many requests wait, and how many connections are lent.
func (e *epochs) ends(present int) {
	e.turns++
	e.present += present
}

// lies counts a connection that came free while nobody waited.
func (e *epochs) lies(slack bool) {
	e.unused++
	if slack {
		e.slack++
	}
}

// serves counts n requests.
func (g *growth) serves(n int) { g.epochs.served += n }

// isDue reports whether epochs are to begin: callers have waited, or the connections were in use, for so long that it is load and not a burst, and the
// growth rule has done its part. If nobody waits, an epoch with fewer connections delays callers by a hold. So then holds must be short.
func (g *growth) isDue(open int, now time.Time) bool {
	if g.epochs.running || open == 0 || g.usedSince.IsZero() || g.hold.d > longHold || g.stalled >= minDialCost || g.kept() >= g.ceiling() {
		return false
	}
	if !g.busySince.IsZero() {
		busy := now.Sub(g.busySince)
		return busy >= sustained && (g.epochs.tuned || busy >= 2*sustained && now.Sub(g.grewAt) >= sustained)
	}
	return open > g.kept() && 2*g.hold.d <= leastEpoch && now.Sub(g.usedSince) >= 2*sustained && now.Sub(g.grewAt) >= sustained
}

// begins begins the first epoch, with the connections that there are, and returns when epoch is to be called.
func (g *growth) begins(open int, now time.Time) (after time.Duration) {
	e := &g.epochs
	passes := 0
	if e.tuned && !g.busySince.IsZero() {
		passes = 1
	}
	e.running, e.tuned, e.empty = true, true, 0
	e.tuner = newTuner(min(g.limit, open+g.dialing), passes)
	return e.settle(g, now)
}

// settle begins an epoch, and returns when its first part ends.
func (e *epochs) settle(g *growth, now time.Time) time.Duration {
	e.measures, e.began, e.settles = false, now, 0
	return e.part(g)
}

func (e *epochs) part(g *growth) time.Duration { return min(max(2*g.hold.d, stallTick), leastEpoch) }

// epoch ends a part of an epoch. It returns when the next part ends, or 0 if there is none, and why the limit has moved, if it has.
func (g *growth) epoch(open, held int, q *queue, random func(time.Duration) time.Duration, now time.Time) (after time.Duration, why string) {
	e := &g.epochs
	settled := held <= e.cap && open >= e.cap
	if !e.measures {
		if e.settles++; !settled && e.settles < mostSettles {
			return e.part(g), ""
		}
		e.measures, e.began, e.then = true, now, e.counts
		long := min(max(2*g.hold.d, leastEpoch), mostEpoch)
		return long*3/4 + random(long/2), ""
	}
	done, turns := e.served-e.then.served, e.turns-e.then.turns
	used := (e.slack-e.then.slack)*fullPart <= turns
	if e.empty++; used {
		e.empty = 0
	}
	if e.empty == mostEmpty || done == 0 || turns == 0 { // if nothing comes free, that is not the server's pace: the holders may wait for each other
		e.running, e.cap = false, noCap
		return 0, ""
	}
	s := sample{
		done: done, present: float64(e.present-e.then.present) / float64(turns), seconds: now.Sub(e.began).Seconds(),
		full: used && settled && q.front == nil && q.inside == 0, waits: (e.unused-e.then.unused)*fullPart <= turns,
	}
	if e.tuner.base != g.limit { // the ceiling has lowered it
		e.tuner = newTuner(g.limit, 1)
	}
	limit, why := e.tuner.next(s, max(1, min(g.kept(), g.ceiling())), max(1, g.ceiling()))
	e.cap = limit
	if why != "" {
		g.tunes(e.tuner.base)
	}
	return e.settle(g, now), why
}

// yields gives up the tuner's trial of fewer connections, if nobody waits at the limit. Then it returns when epoch is to be called, and otherwise 0.
func (g *growth) yields(now time.Time) (after time.Duration) {
	e := &g.epochs
	if !e.running || !e.tuner.yields() {
		return 0
	}
	e.cap = e.tuner.base
	return e.settle(g, now)
}

// spares reports whether one of the open connections is to be closed, because the tuner has no use for it.
func (g *growth) spares(open int) bool {
	return g.epochs.running && open > max(g.limit+spare, g.epochs.tuner.probe, g.kept())
}

// kept returns how many connections the tuner leaves at least.
func (g *growth) kept() int { return max(g.least, g.floor) }
