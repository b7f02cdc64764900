package sim

import (
	"math"
	"time"
)

// Load says how many callers arrive, and what they want.
type Load struct {
	Kinds []Kind
	Steps []Step
	Again bool // each caller comes back at once as another one, of one of the present kinds
}

// Step is the load from a moment on, until the next step begins.
type Step struct {
	From  time.Duration
	Rate  float64 // callers a second, on average; they arrive at random
	Ramp  bool    // the rate changes evenly to that of the next step
	Burst int     // callers who arrive at once, at From
	Kinds []Kind  // replaces Load.Kinds from then on, unless it is nil
}

// Kind is what a caller wants.
type Kind struct {
	Name     string
	Weight   float64       // the kind's share in the callers, relative to the other kinds
	Work     time.Duration // the time on the server, on average
	Spread   Spread
	Within   time.Duration // the time from the caller's request to its deadline; 0 if it has none
	Key      string        // the key by which Config.Fair tells callers apart
	Known    bool          // the pool knows how long each caller takes, and not only the average of all
	Retries  int           // how often a caller asks again after a failure
	Pause    time.Duration // the pause before a caller asks again; 0 if it asks at once
	Shares   bool          // the callers can share a connection
	Nests    bool          // each caller asks for a second connection while it holds the first, and waits for the second
	Dirty    float64       // the probability that the connection has to be cleaned afterwards
	Breaks   float64       // the probability that the connection is closed afterwards
	Reset    float64       // the probability that the connection has a reset to send in front of the next statement
	CutAfter time.Duration // a connection that has not settled this time after its caller left is cut off; 0 means 1 s
}

// Spread says how the work of the callers of a kind is distributed. Its average is always Kind.Work.
type Spread uint8

const (
	Alike       Spread = iota
	Exponential        // a few take several times as long
	Evenly             // from half of the average to one and a half
)

func (k *Kind) work(w *World) time.Duration {
	switch k.Spread {
	case Exponential:
		return w.exponential(k.Work)
	case Evenly:
		return k.Work/2 + w.random(k.Work)
	}
	return k.Work
}

// source makes callers arrive.
type source struct {
	w      *World
	arrive func(*Kind)
	load   Load
	at     int           // the present step's index in load.Steps; -1 if none has begun
	kinds  []Kind        // the present kinds
	stop   time.Duration // when the load ends
}

// mostPause is how long a source uses the same rate while few callers arrive.
const mostPause = 10 * time.Millisecond

func (s *source) rate() float64 {
	if s.at < 0 {
		return 0
	}
	step := &s.load.Steps[s.at]
	if !step.Ramp || s.at+1 == len(s.load.Steps) {
		return step.Rate
	}
	next := &s.load.Steps[s.at+1]
	part := float64(s.w.now-step.From) / float64(next.From-step.From)
	return step.Rate + part*(next.Rate-step.Rate)
}

func (s *source) happens(what kind, _ uint32) {
	w := s.w
	if w.now >= s.stop {
		return
	}
	if what == arrival {
		s.arrive(s.draw())
	}
	for s.at+1 < len(s.load.Steps) && s.load.Steps[s.at+1].From <= w.now {
		s.at++
		step := &s.load.Steps[s.at]
		if step.Kinds != nil {
			s.kinds = step.Kinds
		}
		for range step.Burst {
			s.arrive(s.draw())
		}
	}
	gap := time.Duration(math.MaxInt64)
	if rate := s.rate(); rate > 0 {
		gap = w.perSecond(rate)
	}
	pause := mostPause
	if s.at+1 < len(s.load.Steps) {
		pause = min(pause, s.load.Steps[s.at+1].From-w.now)
	}
	if gap <= pause {
		w.in(gap, s, arrival, 0)
	} else { // random arrivals do not depend on earlier ones, so a gap may be drawn again at any moment
		w.in(pause, s, sample, 0)
	}
}

func (s *source) draw() *Kind {
	total := 0.0
	for i := range s.kinds {
		total += s.kinds[i].Weight
	}
	at := s.w.Rand.Float64() * total
	for i := range s.kinds {
		if at -= s.kinds[i].Weight; at < 0 {
			return &s.kinds[i]
		}
	}
	return &s.kinds[len(s.kinds)-1]
}
