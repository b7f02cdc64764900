package sched

import "math"

// The tuner's rule: would fewer connections answer as many callers, or more connections answer more? Only an experiment can tell. Cinnamon (Uber) and
// failsafe-go's adaptive limiter take the covariance of what is in flight and the throughput. But a pool under load uses all that it may, so nothing
// varies. The tuner varies it: the limit and a probe take turns, each for an epoch, and each epoch of the probe is compared with the limit's epoch before
// it. What changes slowly (the load, the server) concerns both epochs of a pair alike. A probe is judged by the mean of its pairs and by the standard
// error of that mean: on a server whose pace scatters little is given back.
const (
	// mostLoss is the part of the throughput that fewer connections may cost. If they are fewer by more than bigPart, bigLoss is, so that a limit that is
	// far too high falls fast. More connections must bring leastGain.
	mostLoss  = 0.01
	bigLoss   = 0.03
	bigPart   = 0.3
	leastGain = 0.02
	// A probe is taken if it is good enough by sure standard errors, and given up if it is not by unsure. That is judged after leastPairs, since fewer
	// do not show their scatter; after mostPairs the mean decides.
	sure       = 1.5
	unsure     = 1.0
	leastPairs = 3
	mostPairs  = 24
	mostVoid   = 4 // after so many void pairs a probe is given up
	// The first probe is farther from the limit than the next ones, by these parts of it. After each success the part doubles.
	mostStep  = 0.5
	firstStep = 0.25
	leastStep = 0.125
	// If neither fewer nor more are better, the tuner rests for restFor seconds; each time in a row twice as long, mostRests times. Probes cost
	// throughput: with these rests 1 to 2 % under an overload in which every connection helps.
	restFor   = 1.6
	mostRests = 4
	// If the throughput of the limit has changed by the factor otherLoad for mostOdd epochs in a row, the load is another one, and the rest is over.
	otherLoad = 2
	mostOdd   = 4
)

// tuner moves the limit. It is a function of its samples alone.
type tuner struct {
	base        int     // the limit
	least, most int     // the limit is between these
	probe       int     // what the limit is compared with; 0 while the tuner rests
	fewer       bool    // the next probe is below base
	step        float64 // the next probe differs from base by this part
	stops       int     // how many probes in a row were not taken
	rests       float64 // for how many seconds the tuner still rests
	quiet       int     // how many rests there were since base has moved
	usual       float64 // the moving average of the limit's throughput
	odd         int     // how many epochs in a row were not usual
	pairs
}

// pairs are the pairs of epochs of one probe.
type pairs struct {
	before  float64 // the throughput of the first epoch of the present pair; 0 if that is still to come
	n       float64 // how many pairs there are
	sum     float64 // the sum of their gains: what the second epoch had more than the first, as a part of the mean of both
	squares float64 // the sum of the squares of the gains
	void    int     // how many pairs said nothing
}

// sample is one epoch.
type sample struct {
	done    int // how many requests were lent a connection, or boarded a group
	seconds float64
	full    bool // callers waited all the time, and as many connections were in use as the limit allows
}

func newTuner(limit int, step float64) tuner { return tuner{base: limit, fewer: true, step: step} }

// next takes the epoch that has ended, and returns the limit for the next one, from least to most. If base has moved, why is the reason.
func (t *tuner) next(s sample, least, most int) (limit int, why string) {
	t.least, t.most = least, most
	switch b := min(max(t.base, t.least), t.most); {
	case b < t.base:
		t.base, t.probe, why = b, 0, MovedByCeiling
	case b > t.base:
		t.base, t.probe, why = b, 0, MovedByDemand
	}
	rate := float64(s.done) / s.seconds
	if s.full && t.before == 0 && t.isOther(rate) {
		t.rests, t.quiet, t.stops, t.fewer, t.step = 0, 0, 0, true, mostStep
		t.aim()
		return t.base, why
	}
	switch {
	case t.probe == 0 || t.probe < t.least || t.probe > t.most:
		if t.rests -= s.seconds; t.rests <= 0 {
			t.aim()
		}
	case !s.full || s.done == 0:
		t.before = 0
		t.voids()
	case t.before == 0:
		t.before = rate
		return t.probe, why
	default:
		d := 2 * (rate - t.before) / (rate + t.before)
		t.before, t.n, t.sum, t.squares = 0, t.n+1, t.sum+d, t.squares+d*d
		why = t.decide()
	}
	return t.base, why
}

// isOther reports whether the load is another one than before. rate is the throughput of an epoch of the limit.
func (t *tuner) isOther(rate float64) bool {
	switch {
	case t.usual == 0 || t.odd == mostOdd:
		t.usual, t.odd = rate, 0
	case max(rate/t.usual, t.usual/rate) > otherLoad:
		t.odd++
		return t.odd == mostOdd
	default:
		t.odd = 0
		t.usual += (rate - t.usual) / 8
	}
	return false
}

// result returns the mean gain of the pairs, and its standard error.
func (p *pairs) result() (mean, err float64) {
	mean = p.sum / p.n
	return mean, math.Sqrt(max(0, p.squares/p.n-mean*mean) / (p.n - 1))
}

// voids counts a pair that says nothing.
func (t *tuner) voids() {
	if t.void++; t.void > mostVoid {
		t.turn()
	}
}

// decide takes the probe, or gives it up, if that is known by now.
func (t *tuner) decide() (why string) {
	mean, err := t.result()
	part := float64(t.base-t.probe) / float64(t.base)
	switch {
	case t.fewer && mean < -part/2: // the throughput falls with the connections: it would cost too much to make sure
		t.turn()
		return ""
	case t.n < leastPairs:
		return ""
	}
	least, last := leastGain, t.n >= mostPairs
	if t.fewer {
		least = -mostLoss
		if part > bigPart {
			least = -bigLoss
		}
	}
	switch {
	case mean-sure*err > least, last && mean > least:
		if why = MovedToMore; t.fewer {
			why = MovedToFewer
		}
		t.base, t.step, t.stops, t.quiet, t.usual = t.probe, min(2*t.step, mostStep), 0, 0, 0
		t.aim()
	case !last && mean+unsure*err > least:
	default:
		t.less()
	}
	return why
}

// less gives the probe up. The next one is nearer, or goes the other way.
func (t *tuner) less() {
	if t.fewer && t.step > leastStep {
		t.step /= 2
		t.aim()
	} else {
		t.turn()
	}
}

// turn has the next probe go the other way. After two probes that were not taken the tuner rests.
func (t *tuner) turn() {
	t.fewer, t.step = !t.fewer, firstStep
	if t.stops++; t.stops%2 == 0 {
		t.rests = restFor * float64(int(1)<<min(t.quiet, mostRests))
		t.quiet++
	}
	t.aim()
}

// size returns by how many connections the next probe differs from the limit.
func (t *tuner) size() int { return max(1, int(t.step*float64(t.base))) }

// aim chooses the next probe, unless the tuner rests.
func (t *tuner) aim() {
	t.pairs, t.probe = pairs{}, 0
	switch {
	case t.rests > 0:
	case t.fewer && t.base > t.least:
		t.probe = max(t.base-t.size(), t.least)
	case !t.fewer && t.base < t.most:
		t.probe = min(t.base+t.size(), t.most)
	case t.least < t.most:
		t.turn()
	}
}
