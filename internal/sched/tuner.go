package sched

import "math"

// The tuner's rule: would fewer connections answer as many callers, or more connections answer more? Only an experiment can tell. Cinnamon (Uber) and
// failsafe-go's adaptive limiter take the covariance of what is in flight and the throughput. But a pool under load uses all that it may, so nothing
// varies. The tuner varies it: the limit and a probe take turns, each for an epoch, and each epoch of the probe is compared with the limit's epoch before
// it. What changes slowly (the load, the server) concerns both epochs of a pair alike. The pairs of a probe are a sequential test (Wald, 1945): it ends as
// soon as their mean and its standard error tell enough.
//
// The probes are a search by bracketing, as in golden section search (Kiefer, 1953), on a logarithmic scale: a factor of two shows in a few pairs, and a
// difference of one connection in 64 never does. The nearest numbers below and above the limit that turned out worse bracket it. The next probe is
// in the middle of the wider side. The first pass, after the load has changed, is coarse: it ends when both sides are at most a factor of coarse wide.
// Later passes begin after a rest, near the limit, and end at fine.
//
// If nobody waits at the limit, the throughput may be all that is asked for. Then a probe of fewer must also not make requests take longer. By Little's law
// that time is the number of requests in the pool, divided by the throughput. Callers who ask again as soon as they have their answer are always as many, so
// for them both measures are the same.
const (
	// Half as many connections may cost mostLoss of the throughput, and twice as many must bring leastGain.
	mostLoss  = 0.02
	leastGain = 0.03
	// A probe is taken if it is good enough by sure standard errors, and given up if it is not by unsure. That is judged after leastPairs, since fewer
	// do not show their scatter; after mostPairs the mean decides. The standard error of few pairs is itself uncertain, so they need more of it.
	sure       = 1.5
	unsure     = 1.5
	leastPairs = 4
	mostPairs  = 20
	mostRisk   = 0.1 // after mostPairs fewer connections are not taken if they may cost more than this
	mostVoid   = 4   // after so many void pairs a probe is given up
	// The first pass begins with a farDown-th of the limit if that is more than farFrom: 64 connections may answer as many as 32, and less than 8 do. Such a
	// probe gets mostFar pairs, and is not taken by its mean alone, since nearer ones follow. More connections are tried in steps of two: the server may
	// have become slow because it has too many.
	farDown = 4
	farFrom = 16
	mostFar = 10
	// A side of the bracket that is not wider is not searched any more. coarse is between 2 and 3: in the first pass the probes are powers of 2.
	coarse = 2.5
	fine   = 1.5
	// After a pass the tuner rests for restFor seconds, and twice as long after each further pass that has not moved the limit, mostRests times. Probes
	// cost throughput: with these rests 1 to 2 % under an overload in which every connection helps.
	restFor   = 4
	mostRests = 2
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
	under, over int     // the nearest numbers below and above base that turned out worse; 0 if none is known
	passes      int     // how many passes have ended since the load changed; not more than 1 if base has moved since
	rests       float64 // for how many seconds the tuner still rests
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

// newTuner returns a tuner that begins with a coarse pass, unless passes is more than 0.
func newTuner(limit, passes int) tuner { return tuner{base: limit, passes: passes} }

// next takes the epoch that has ended, and returns the limit for the next one, from least to most. If base has moved, why is the reason.
func (t *tuner) next(s sample, least, most int) (limit int, why string) {
	t.least, t.most = least, most
	switch b := min(max(t.base, t.least), t.most); {
	case b < t.base:
		why = MovedByCeiling
		t.moves(b)
	case b > t.base:
		why = MovedByDemand
		t.moves(b)
	}
	rate := float64(s.done) / s.seconds
	if s.full && t.before == 0 && t.isOther(rate) {
		t.rests, t.passes, t.under, t.over = 0, 0, 0, 0
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
		if t.void++; t.void > mostVoid {
			t.worse()
		}
	case t.before == 0 && !s.waits && t.probe > t.base: // nobody would use more
		t.worse()
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
	t.worse()
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

// decide takes the probe, or gives it up, if that is known by now.
func (t *tuner) decide() (why string) {
	mean, err := t.result()
	octaves := math.Log2(float64(t.probe) / float64(t.base))
	enough, why := leastGain*octaves, MovedToMore
	if octaves < 0 {
		enough, why = -mostLoss*min(-octaves, 1), MovedToFewer
	}
	far := octaves < -1.5 // if a far probe is not taken, a nearer one follows
	last := t.n >= mostPairs || far && t.n >= mostFar
	switch {
	case octaves <= -1 && mean < (math.Exp2(octaves)-1)/2: // the throughput falls with the connections: it would cost too much to make sure
		t.worse()
	case t.n < leastPairs:
	case mean-sure*(1+2/t.n)*err > enough, last && !far && mean > enough && mean-sure*err > -mostRisk:
		usual := t.usual * (2 + mean) / (2 - mean)
		t.moves(t.probe)
		t.usual = usual
		t.aim()
		return why
	case last || mean+unsure*(1+2/t.n)*err < enough:
		t.worse()
	}
	return ""
}

// moves sets base to n. If n was the probe, the old base has turned out worse. After the first pass nothing else is known then: what turned out worse
// before may have done so under another load.
func (t *tuner) moves(n int) {
	if n != t.probe || t.passes > 0 {
		t.under, t.over = 0, 0
	}
	switch {
	case n != t.probe:
	case n < t.base:
		t.over = t.base
	default:
		t.under = t.base
	}
	t.base, t.probe, t.passes, t.usual = n, 0, min(t.passes, 1), 0
}

// worse gives the probe up.
func (t *tuner) worse() {
	if t.probe < t.base {
		t.under = t.probe
	} else {
		t.over = t.probe
	}
	t.aim()
}

// aim chooses the next probe: the one that is farther from the limit, of those below and above it. If there is none, the pass is over, and the tuner rests.
func (t *tuner) aim() {
	t.pairs, t.probe = pairs{}, 0
	down, up := t.below(), t.above()
	switch {
	case down > 0 && (up == 0 || t.base*t.base >= down*up):
		t.probe = down
	case up > 0:
		t.probe = up
	default:
		t.rests = restFor * float64(int(1)<<min(t.passes, mostRests))
		t.passes, t.under, t.over = t.passes+1, 0, 0
	}
}

// below returns the next probe below the limit, or 0 if there is none.
func (t *tuner) below() int {
	n := max(1, t.base/2)
	switch {
	case t.under > 0:
		n = t.middle(t.under)
	case t.passes == 0 && t.base > farFrom:
		n = round(float64(t.base) / farDown)
	}
	if n = max(n, t.least); n >= t.base {
		return 0
	}
	return n
}

// above returns the next probe above the limit, or 0 if there is none.
func (t *tuner) above() int {
	n := round(1.5 * float64(t.base))
	if t.over > 0 {
		n = t.middle(t.over)
	}
	if n = min(n, t.most); n <= t.base {
		return 0
	}
	return n
}

// middle returns the number that is by the same factor from the limit and from n. If that is not worth a probe in this pass, it returns the limit.
func (t *tuner) middle(n int) int {
	wide := max(float64(n)/float64(t.base), float64(t.base)/float64(n))
	between := math.Sqrt(float64(n) * float64(t.base))
	m := int(math.Round(between))
	if t.passes == 0 {
		m = round(between)
	}
	if wide <= fine || t.passes == 0 && wide <= coarse || m == n {
		return t.base
	}
	return m
}

// round returns the power of two that is nearest to n.
func round(n float64) int { return 1 << max(0, int(math.Round(math.Log2(n)))) }
