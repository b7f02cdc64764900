package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// epoch is the time at which every world begins.
var epoch = time.Unix(1e9, 0)

// actor is something to which events happen. gen is the number that World.in was given. An actor whose own number has changed since ignores the event.
type actor interface{ happens(what kind, gen uint32) }

// kind is the kind of an event.
type kind uint8

const (
	arrival kind = iota
	grant        // a caller goes on with its answer
	deadline
	tooLate // a caller who waits has come to its latest start
	release // a connection's statement, reset or close ends, or a caller's pause
	timer
	dialEnds
	upkeep
	sample
	ceiling // the ceiling moves
)

type event struct {
	at   time.Duration // since epoch
	seq  uint64        // the number of the event in the order in which events were made; of two events at the same time the lower one is first
	who  actor
	gen  uint32
	what kind
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// World is a clock, the events to come, and a source of random numbers.
type World struct {
	Rand   *rand.Rand
	Events int // how many events have happened

	now  time.Duration
	each []func() // called after each event
	seq  uint64
	heap []event // a heap in which each event has up to four below it; the first one is next

	trace []byte // the lines that were not written yet; nil if there is no trace
	write func([]byte)
}

// NewWorld returns a World whose random numbers come from seed. If trace is not nil, it is called with the parts of the trace, and must not keep them.
func NewWorld(seed uint64, trace func([]byte)) *World {
	w := &World{Rand: rand.New(rand.NewPCG(seed, 7)), write: trace}
	if trace != nil {
		w.trace = make([]byte, 0, traceSize)
	}
	return w
}

// Now returns the time that the scheduler sees.
func (w *World) Now() time.Time { return epoch.Add(w.now) }

// in adds an event that happens to who after d.
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

// step makes the next event happen.
func (w *World) step() {
	e := w.next()
	w.now = e.at
	w.Events++
	e.who.happens(e.what, e.gen)
	for _, f := range w.each {
		f()
	}
}

// Run makes all events up to until happen, which counts from the world's beginning. Its error is a *Broken.
func (w *World) Run(until time.Duration) (err error) {
	defer w.flush()
	defer recoverBroken(&err)
	for len(w.heap) > 0 && w.heap[0].at <= until {
		w.step()
	}
	w.now = until
	return nil
}

// Broken is the error that a rule did not hold.
type Broken struct {
	Rule  string
	At    time.Duration
	Event int
}

func (b *Broken) Error() string {
	return fmt.Sprintf("event %d, at %v: broken: %s", b.Event, b.At, b.Rule)
}

// must panics with a Broken unless ok. Run returns it as its error.
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

// random returns a random time of at least 0 and less than d.
func (w *World) random(d time.Duration) time.Duration { return time.Duration(w.Rand.Int64N(int64(d))) }

// exponential returns a random time with an exponential distribution whose average is mean.
func (w *World) exponential(mean time.Duration) time.Duration {
	return time.Duration(w.Rand.ExpFloat64() * float64(mean))
}

// chance returns true with probability p.
func (w *World) chance(p float64) bool { return p > 0 && w.Rand.Float64() < p }

// perSecond returns a random time between two arrivals, of which there are rate a second on average.
func (w *World) perSecond(rate float64) time.Duration {
	return time.Duration(min(w.Rand.ExpFloat64()/rate*1e9, math.MaxInt64/2))
}

// traceSize is about how many bytes of a trace are written at once.
const traceSize = 64 << 10

// say adds a line to the trace: the time, what has happened, and the numbers of the callers or connections.
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
