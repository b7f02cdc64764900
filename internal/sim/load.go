package sim

import (
	"math"
	"time"
)

// Load is who asks, and for what.
type Load struct {
	Kinds []Kind
	Steps []Step
}

// Step is how many ask a second from then on; a ramp goes there until the next step begins.
type Step struct {
	From  time.Duration
	Rate  float64 // on average, at random
	Ramp  bool    // from here to the next step's rate, evenly
	Burst int     // callers who come at once, at From
	Kinds []Kind  // instead of Load.Kinds from then on; nil: as before
}

// Kind is what a caller wants.
type Kind struct {
	Name     string
	Weight   float64
	Work     time.Duration // on the server, on average
	Spread   Spread
	Within   time.Duration // its deadline, after it asks; 0: none
	Retries  int           // how often it comes back after a failure
	Pause    time.Duration // before that; 0: at once
	Shares   bool          // it can travel with others
	Nests    bool          // who holds a connection asks for another, and waits for that
	Dirty    float64       // of all, those after which a connection is cleaned
	Breaks   float64       // those after which it is closed
	Reset    float64       // those that leave something to send with the next
	CutAfter time.Duration // a connection that does not settle so long after its caller has left is cut off; 0: a second
}

// Spread is how the work of callers of a kind differs.
type Spread uint8

// All have the average named.
const (
	Alike       Spread = iota
	Exponential        // a few take several times as long
	Evenly             // from half to one and a half
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

// source has callers arrive.
type source struct {
	w      *World
	arrive func(*Kind)
	load   Load
	at     int // of load.Steps
	kinds  []Kind
	stop   time.Duration
}

// mostPause is after how long the rate is looked at again, while few arrive.
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
	} else { // what comes at random does not know how long one has waited
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
