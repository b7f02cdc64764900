package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// pressed is a workload that is offered more than can be done.
type pressed struct {
	name    string
	run     func(context.Context, db, pick) error
	heavy   func(pick) bool // takes 10 × as long as the others; nil: none does
	alone   time.Duration   // how long one that is not heavy takes on an idle system, about
	loads   []float64       // of its capacity
	goodput float64         // what is wanted, of its capacity
	durable bool
	far     bool // behind the link
	conns   int  // the ceiling of all systems
}

func (w *pressed) weight(p pick) float64 {
	if w.heavy != nil && w.heavy(p) {
		return 10
	}
	return 1
}

func isHeavy(p pick) bool { return p.draw < 0.1 }

// nap holds a connection for a time, without a CPU.
func nap(sql func(pick) string) func(context.Context, db, pick) error {
	return func(ctx context.Context, d db, p pick) error {
		takes := 0.02
		if isHeavy(p) {
			takes = 0.2
		}
		_, err := d.Exec(ctx, sql(p), takes)
		return err
	}
}

const sleepSQL = "select pg_sleep($1)"

var pressedOnes = []pressed{
	{name: "hold", conns: 16, alone: 20 * time.Millisecond, loads: []float64{1, 1.25, 2, 5}, goodput: 0.95, run: func(ctx context.Context, d db, _ pick) error {
		_, err := d.Exec(ctx, sleepSQL, 0.02)
		return err
	}},
	// One connection and the link bound it, and not the CPUs, which the generator shares.
	{name: "point", conns: 1, far: true, alone: 2 * time.Millisecond, loads: []float64{1.25, 2}, goodput: 0.85, run: selectPoint},
	{name: "mixed", conns: 16, alone: 20 * time.Millisecond, loads: []float64{1, 1.25, 2, 5}, goodput: 0.95, heavy: isHeavy, run: nap(func(p pick) string {
		if isHeavy(p) {
			return sleepSQL + " as heavy"
		}
		return sleepSQL
	})},
	// unknown is mixed with one text for both, so that nobody knows which is heavy.
	{name: "unknown", conns: 16, alone: 20 * time.Millisecond, loads: []float64{1, 1.25, 2, 5}, goodput: 0.95, heavy: isHeavy, run: nap(func(pick) string { return sleepSQL })},
	{name: "write", conns: 16, alone: 5 * time.Millisecond, loads: []float64{1, 1.25, 2, 5}, goodput: 0.95, durable: true, run: update},
}

// patience is how long the callers give a call.
type patience struct {
	name string
	of   func(pick) time.Duration
}

var (
	half500 = patience{"500ms", func(pick) time.Duration { return 500 * time.Millisecond }}
	shorts  = patience{"200ms+2s", func(p pick) time.Duration {
		if p.id%2 == 0 {
			return 200 * time.Millisecond
		}
		return 2 * time.Second
	}}
)

// stretch is a time with a constant rate of arrivals, by key.
type stretch struct {
	lasts time.Duration
	rates []float64 // per second; the key is the index
}

// offered is an arrival of a key.
type offered struct {
	arrival
	key int
}

// arrivals returns the arrivals of all stretches, one after the other, in order. The same seed gives the same arrivals.
func arrivals(seed uint64, stretches []stretch) (all []offered) {
	var begins time.Duration
	for i, s := range stretches {
		var these []offered
		for key, rate := range s.rates {
			if rate > 0 {
				for _, a := range schedule(seed+uint64(i*len(s.rates)+key)<<8, rate, s.lasts) {
					a.due += begins
					these = append(these, offered{a, key})
				}
			}
		}
		slices.SortFunc(these, func(a, b offered) int { return int(a.due - b.due) })
		all, begins = append(all, these...), begins+s.lasts
	}
	return all
}

// grain is how long a machine takes to wake a caller: who returns that much after the deadline was answered in time.
const grain = time.Millisecond

// keyOf is under which a call's ctx has its key.
type keyOf struct{}

// fairKey returns the key of ctx's call.
func fairKey(ctx context.Context) string {
	key, _ := ctx.Value(keyOf{}).(string)
	return key
}

// offer makes the calls when they are due, each in a goroutine of its own, with a deadline that counts from then. A call that fails is made again at
// once, up to retries times, with a deadline of its own: each counts as a call. It returns when all have returned, and how late the generator itself
// was.
func offer(ctx context.Context, d db, w *pressed, all []offered, wait patience, retries int) (calls []call, lateness figure) {
	calls = make([]call, len(all)*(1+retries))
	lag := make([]time.Duration, 0, len(all))
	var running sync.WaitGroup
	began := time.Now()
	for i, a := range all {
		due := began.Add(a.due)
		sleepUntil(due)
		if ctx.Err() != nil {
			break
		}
		lag = append(lag, time.Since(due))
		running.Go(func() {
			due := due
			keyed := context.WithValue(ctx, keyOf{}, strconv.Itoa(a.key))
			for try := range 1 + retries {
				c := &calls[i*(1+retries)+try]
				c.due, c.within, c.weight, c.key = due.Sub(began), wait.of(a.pick), w.weight(a.pick), a.key
				c.heavy = w.heavy != nil && w.heavy(a.pick)
				c.feasible = time.Duration(float64(w.alone)*c.weight)*11/10 < c.within
				made, err := time.Now(), error(nil)
				func() {
					ctx, cancel := context.WithDeadline(keyed, due.Add(c.within))
					defer cancel()
					err = w.run(ctx, d, a.pick)
				}()
				now := time.Now()
				c.took, c.returned = now.Sub(due), now.Sub(made)
				c.fate, c.service = fateOf(err, c.took > c.within+grain)
				if c.fate == fromQueue && c.isEarly() {
					c.fate = onArrival
				}
				if err == nil || ctx.Err() != nil {
					return
				}
				due = now
			}
		})
	}
	running.Wait()
	return calls, percentile(lag, 99)
}

// capacityOf returns how much weight d answers in a second, with as many callers as make no difference, after a warm-up.
func capacityOf(ctx context.Context, d db, w *pressed, t timing, seed uint64) (perSecond float64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var win window
	var weight atomic.Int64
	var running sync.WaitGroup
	for i := range crowd {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for !win.over() {
				p := newPick(rng)
				within, done := context.WithTimeout(ctx, time.Minute) // as the callers of the load have it
				err := w.run(within, d, p)
				done()
				if err != nil {
					cancel(err)
					return
				}
				if win.counting() {
					weight.Add(int64(w.weight(p)))
				}
			}
		})
	}
	took, _, err := win.pass(ctx, t, &meter{postmaster: 1})
	running.Wait()
	return float64(weight.Load()) / took.Seconds(), err
}
