package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// epoch is when every world begins.
var epoch = time.Unix(1e9, 0)

// actor is whoever an event happens to. gen is what it was told when the event was made: an actor ignores what is out of date.
type actor interface{ happens(what kind, gen uint32) }

// kind is what happens.
type kind uint8

const (
	arrival kind = iota
	grant        // a caller goes on with its answer
	deadline
	release // a statement ends, or what follows it
	timer
	dialEnds
	upkeep
	sample
)

var kindNames = [...]string{"arrival", "grant", "deadline", "release", "timer", "dial", "upkeep", "sample"}

type event struct {
	at   time.Duration // since epoch
	seq  uint64        // of two at the same time the one that was made first is first
	who  actor
	gen  uint32
	what kind
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// World is a clock, the events to come, and chance.
type World struct {
	Rand   *rand.Rand
	Events int // that have happened

	now  time.Duration
	each []func() // are called after each event
	seq  uint64
	heap []event // the first is the next; each has four below it

	trace []byte // lines that were not yet written; nil: there is no trace
	write func([]byte)
}

// NewWorld is one whose chance is seed's. trace, if not nil, is called with what has happened, in parts.
func NewWorld(seed uint64, trace func([]byte)) *World {
	w := &World{Rand: rand.New(rand.NewPCG(seed, 7)), write: trace}
	if trace != nil {
		w.trace = make([]byte, 0, traceSize)
	}
	return w
}

// Now is the time, as the scheduler sees it.
func (w *World) Now() time.Time { return epoch.Add(w.now) }

// in has what happen to who after d.
func (w *World) in(d time.Duration, who actor, what kind, gen uint32) {
	w.seq++
	w.heap = append(w.heap, event{w.now + max(d, 0), w.seq, who, gen, what})
	h := w.heap
	i := len(h) - 1
	e := h[i]
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

func (w *World) next() event {
	h := w.heap
	first, n := h[0], len(h)-1
	e := h[n]
	h[n] = event{}
	h = h[:n]
	w.heap = h
	if n == 0 {
		return first
	}
	i := 0
	for {
		least := 4*i + 1
		if least >= n {
			break
		}
		for j := least + 1; j < min(4*i+5, n); j++ {
			if h[j].before(&h[least]) {
				least = j
			}
		}
		if !h[least].before(&e) {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = e
	return first
}

// step has the next event happen.
func (w *World) step() {
	e := w.next()
	w.now = e.at
	w.Events++
	e.who.happens(e.what, e.gen)
	for _, f := range w.each {
		f()
	}
}

// Run has happen what is to come until then, since the beginning. What it returns is a *Broken.
func (w *World) Run(until time.Duration) (err error) {
	defer w.flush()
	defer recoverBroken(&err)
	for len(w.heap) > 0 && w.heap[0].at <= until {
		w.step()
	}
	w.now = until
	return nil
}

// Broken is a rule that did not hold.
type Broken struct {
	Rule  string
	At    time.Duration
	Event int
}

func (b *Broken) Error() string {
	return fmt.Sprintf("event %d, at %v: broken: %s", b.Event, b.At, b.Rule)
}

// must panics with a Broken, which Run returns, unless ok.
func (w *World) must(ok bool, rule string) {
	if !ok {
		panic(&Broken{rule, w.now, w.Events})
	}
}

func recoverBroken(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Broken:
		*err = r
	default:
		panic(r)
	}
}

// random is less than d, and at least 0.
func (w *World) random(d time.Duration) time.Duration { return time.Duration(w.Rand.Int64N(int64(d))) }

// exponential is a time whose average is mean.
func (w *World) exponential(mean time.Duration) time.Duration {
	return time.Duration(w.Rand.ExpFloat64() * float64(mean))
}

// chance is true in so many of all cases.
func (w *World) chance(p float64) bool { return p > 0 && w.Rand.Float64() < p }

// perSecond is how long it is between two that come at random, so many a second.
func (w *World) perSecond(rate float64) time.Duration {
	return time.Duration(min(w.Rand.ExpFloat64()/rate*1e9, math.MaxInt64/2))
}

// traceSize is how many bytes of a trace are written at once, or so.
const traceSize = 64 << 10

// say adds a line to the trace: when, what, and to or with what.
func (w *World) say(what string, ids ...int) {
	if w.trace == nil {
		return
	}
	w.trace = strconv.AppendInt(w.trace, int64(w.now), 10)
	w.trace = append(append(w.trace, ' '), what...)
	for _, id := range ids {
		w.trace = strconv.AppendInt(append(w.trace, ' '), int64(id), 10)
	}
	if w.trace = append(w.trace, '\n'); len(w.trace) > traceSize-200 {
		w.flush()
	}
}

func (w *World) flush() {
	if len(w.trace) > 0 {
		w.write(w.trace)
		w.trace = w.trace[:0]
	}
}
