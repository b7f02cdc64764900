package sched

import "math"

// The tuner's rule: would fewer connections answer as many callers, or more connections answer more? Only an experiment can tell. Cinnamon (Uber) and
// failsafe-go's adaptive limiter take the covariance of what is in flight and the throughput. But a pool under load uses all that it may, so nothing
// varies. The tuner varies it: the limit and a probe take turns, each for an epoch, and each epoch of the probe is compared with the limit's epoch before
// it. What changes slowly (the load, the server) concerns both epochs of a pair alike. A probe is judged by the mean of its pairs and by the standard
// error of that mean: on a server whose pace scatters little is given back.
//
// If nobody waits at the limit, the throughput may be all that is asked for. Then a probe of fewer must also not make requests take longer. By Little's law
// that time is the number of requests in the pool, divided by the throughput. Callers who ask again as soon as they have their answer are always as many, so
// for them both measures are the same.
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
	// If a probe of fewer may cost less than plain, and the standard error is below plain too, the curve is a plain there: 64 connections may answer as
	// many callers as 32, and less than 8 do. Then a probe that is fewer by farStep is tried once, before nearer ones.
	plain   = 0.1
	farStep = 0.75
	// If neither fewer nor more are better, the tuner rests for restFor seconds; each time in a row twice as long, mostRests times. Probes cost
	// throughput: with these rests 1 to 2 % under an overload in which every connection helps.
	restFor   = 1.6
	mostRests = 4
	// If the throughput of the limit has changed by the factor otherLoad in mostOdd epochs, not counting as many in which it has not, the load is another
	// one, and the rest is over.
	otherLoad = 1.5
	mostOdd   = 8
)

// tuner moves the limit. It is a function of its samples alone.
type tuner struct {
	base        int     // the limit
	least, most int     // the limit is between these
	probe       int     // what the limit is compared with; 0 while the tuner rests
	fewer       bool    // the next probe is below base
	far         bool    // a farther probe was tried
	step        float64 // the next probe differs from base by this part
	stops       int     // how many probes in a row were not taken
	rests       float64 // for how many seconds the tuner still rests
	quiet       int     // how many rests there were since base has moved
	usual       float64 // the moving average of the limit's throughput
	odd         int     // how many epochs had more throughput than usual, less those that had less; each usual epoch moves it towards 0
	pairs
}

// pairs are the pairs of epochs of one probe.
type pairs struct {
	before  float64 // the throughput of the first epoch of the present pair; 0 if that is still to come
	crowd   float64 // sample.present of that epoch; 0 if callers waited all the time
	n       float64 // how many pairs there are
	sum     float64 // the sum of their gains: what the second epoch had more than the first, as a part of the mean of both
	squares float64 // the sum of the squares of the gains
	void    int     // how many pairs said nothing
}

// sample is one epoch.
type sample struct {
	done    int     // how many requests were lent a connection, or boarded a group
	present float64 // how many requests waited and how many connections were lent, on average; divided by the throughput, that is how long a request took
	seconds float64
	full    bool // as many connections were in use as the limit allows, all the time
	waits   bool // callers waited all the time
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
		t.rests, t.quiet, t.stops, t.fewer, t.far, t.step = 0, 0, 0, true, false, mostStep
		t.aim()
		return t.base, why
	}
	switch {
	case t.probe == 0 || t.probe < t.least || t.probe > t.most:
		if t.rests -= s.seconds; t.rests <= 0 {
			t.aim()
		}
	case !s.full || s.done == 0:
		t.before, t.crowd = 0, 0
		t.voids()
	case t.before == 0 && !s.waits && t.probe > t.base: // nobody would use more
		t.turn()
	case t.before == 0:
		if t.before = rate; !s.waits {
			t.crowd = s.present
		}
		return t.probe, why
	default:
		d := gain(t.before, rate)
		if t.crowd > 0 { // the throughput may be all that is asked for; then fewer connections only make requests take longer
			d = min(d, gain(s.present/rate, t.crowd/t.before))
		}
		t.before, t.crowd, t.n, t.sum, t.squares = 0, 0, t.n+1, t.sum+d, t.squares+d*d
		why = t.decide()
	}
	return t.base, why
}

// gain returns how much more y is than x, as a part of the mean of both.
func gain(x, y float64) float64 { return 2 * (y - x) / (y + x) }

// yields gives up a probe of fewer connections if nobody waits at the limit. It reports whether there was one.
func (t *tuner) yields() bool {
	if t.probe == 0 || t.probe > t.base || t.crowd == 0 {
		return false
	}
	t.turn()
	return true
}

// isOther reports whether the load is another one than before. rate is the throughput of an epoch of the limit.
func (t *tuner) isOther(rate float64) bool {
	switch {
	case t.usual == 0 || t.odd == mostOdd || t.odd == -mostOdd:
		t.usual, t.odd = rate, 0
	case rate > otherLoad*t.usual:
		t.odd++
		return t.odd == mostOdd
	case rate*otherLoad < t.usual:
		t.odd--
		return t.odd == -mostOdd
	default:
		t.odd -= min(max(t.odd, -1), 1)
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
	plateau := t.fewer && !t.far && t.step >= firstStep && err < plain && mean+unsure*err > -plain
	switch {
	case mean-sure*err > least, last && mean > least:
		if why = MovedToMore; t.fewer {
			why = MovedToFewer
		}
		t.base, t.far, t.step, t.stops, t.quiet, t.usual = t.probe, false, min(2*t.step, mostStep), 0, 0, 0
		t.aim()
	case !last && mean+unsure*err > least:
	case plateau:
		t.far, t.step = true, farStep
		t.aim()
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
	t.fewer, t.far, t.step = !t.fewer, false, firstStep
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
