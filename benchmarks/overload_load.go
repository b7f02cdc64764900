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

// pressed is a workload of an overload: more of it is offered than a system can do.
type pressed struct {
	name    string
	run     func(context.Context, db, pick) error
	heavy   func(pick) bool // reports whether a call takes 10 × as long as the others; nil if no call does
	alone   time.Duration   // about how long a call that is not heavy takes on an idle system
	loads   []float64       // the offered loads, as multiples of the capacity
	goodput float64         // the goodput that lmipool must reach, as a part of the capacity
	durable bool
	far     bool // the server is behind the link
	conns   int  // the ceiling of all systems
}

func (w *pressed) weight(p pick) float64 {
	if w.heavy != nil && w.heavy(p) {
		return 10
	}
	return 1
}

func isHeavy(p pick) bool { return p.draw < 0.1 }

// nap returns a call that holds a connection for 20 ms, or for 200 ms if it is heavy, and uses almost no CPU.
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
	// point is limited by its one connection and the link. If the CPUs limited it, the generator, which shares them, would disturb it.
	{name: "point", conns: 1, far: true, alone: 2 * time.Millisecond, loads: []float64{1.25, 2}, goodput: 0.85, run: selectPoint},
	{name: "mixed", conns: 16, alone: 20 * time.Millisecond, loads: []float64{1, 1.25, 2, 5}, goodput: 0.95, heavy: isHeavy, run: nap(func(p pick) string {
		if isHeavy(p) {
			return sleepSQL + " as heavy"
		}
		return sleepSQL
	})},
	// unknown is like mixed, but heavy and light calls have the same text, so that the pool cannot know which calls are heavy.
	{name: "unknown", conns: 16, alone: 20 * time.Millisecond, loads: []float64{1, 1.25, 2, 5}, goodput: 0.95, heavy: isHeavy, run: nap(func(pick) string { return sleepSQL })},
	{name: "write", conns: 16, alone: 5 * time.Millisecond, loads: []float64{1, 1.25, 2, 5}, goodput: 0.95, durable: true, run: update},
}

// patience says how long after a call is due its deadline is.
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

// stretch is a part of a load in which the rate of arrivals of each key is constant.
type stretch struct {
	lasts time.Duration
	rates []float64 // per second; the key is the index
}

// offered is one arrival and the key under which it comes.
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

// grain is how long a machine may take to wake a caller. A call that returns at most that long after its deadline counts as answered in time.
const grain = time.Millisecond

// keyOf is the type of the ctx key under which a call's fairness key is stored.
type keyOf struct{}

// fairKey returns the fairness key of the call that has ctx.
func fairKey(ctx context.Context) string {
	key, _ := ctx.Value(keyOf{}).(string)
	return key
}

// offer makes each call when it is due, in a goroutine of its own, with a deadline that counts from the moment when it was due. A call that fails is
// made again at once, up to retries times. Each try has a deadline of its own, and counts as a call. offer waits for all calls, and returns them with
// the p99 of the generator's lateness.
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

// capacityOf returns how much weight d answers per second after a warm-up. It uses crowd callers, more than any system here has connections.
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
				within, done := context.WithTimeout(ctx, time.Minute) // the calls of the load have a deadline too
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
