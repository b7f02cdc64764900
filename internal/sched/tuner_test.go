package sched

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// curve is how many requests a second a model of a server answers with n connections.
type curve struct {
	name string
	flat bool // from the best number on more connections bring nothing, or cost something
	at   func(n float64) float64
}

func soft(n float64) func(float64) float64 {
	return func(x float64) float64 { return 2000 * (1 - math.Exp(-x/n)) }
}

// The first curve has the figures of make sizes on two CPUs that the database shares with the load.
var curves = []curve{
	{"riding reads", true, func(n float64) float64 {
		return []float64{0, 27612, 57825, 64000, 70831, 70000, 69000, 68000, 67312}[int(min(n, 8))] * math.Pow(min(1, 8/n), 0.45)
	}},
	{"riding reads, steep", true, func(n float64) float64 {
		i := min(math.Log2(n), 5.999)
		at := []float64{50, 81, 84, 72, 58, 48, 48}
		return 1000 * (at[int(i)] + (i-math.Floor(i))*(at[int(i)+1]-at[int(i)]))
	}},
	{"4, then 1 % less each", true, func(n float64) float64 { return 500 * min(n, 4) * (1 - 0.01*max(0, n-4)) }},
	{"flat from 16", false, func(n float64) float64 { return 50 * min(n, 16) }},
	{"1-exp(-n/3)", false, soft(3)},
	{"1-exp(-n/8)", false, soft(8)},
	{"n^0.6", false, func(n float64) float64 { return 400 * math.Pow(n, 0.6) }},
	{"all help", false, func(n float64) float64 { return 100 * n }},
}

const curveMost = 64

// best returns the smallest number of connections with 97 % of the most throughput, and that throughput.
func (c curve) best() (n int, rate float64) {
	for i := range curveMost {
		rate = max(rate, c.at(float64(i+1)))
	}
	for n = 1; c.at(float64(n)) < 0.97*rate; n++ {
	}
	return n, c.at(float64(n))
}

// run lets u tune for some seconds, and returns the mean limit and the mean throughput. scatter is the standard error of what pairs of epochs show in
// one second: 0.02 to 0.05 on a quiet machine, 0.25 on one that is overcommitted eight times.
// There are as many callers, each of whom asks again as soon as it has its answer.
func (c curve) run(u *tuner, limit *int, callers float64, r *rand.Rand, scatter, seconds float64) (size, rate float64) {
	const settles = 0.005
	for at := 0.0; at < seconds; {
		long := 0.04 * (0.75 + 0.5*r.Float64())
		now := c.at(float64(*limit))
		sd := scatter / (2 * math.Sqrt(long))
		done := now*long*math.Exp(sd*r.NormFloat64()-sd*sd/2) + 0.5*math.Sqrt(now*long)*r.NormFloat64() + 0.5
		*limit, _ = u.next(sample{done: max(0, int(done)), present: callers, seconds: long, full: true, waits: callers > float64(*limit)}, 1, curveMost)
		long += settles
		at, size, rate = at+long, size+float64(u.base)*long, rate+now*long
	}
	return size / seconds, rate / seconds
}

// The limit must lose no throughput at any scatter, and fall to the best number of connections where the scatter lets that be seen.
func TestTheTunerFindsTheSize(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	for _, callers := range []float64{curveMost, 1000} {
		for _, scatter := range []float64{0.02, 0.05, 0.25} {
			fmt.Fprintf(&table, "\n%4v callers, scatter %.2f best | from 64, after 4 s | after 20 s   | from 4, after 4 s\n", callers, scatter)
			for _, c := range curves {
				best, most := c.best()
				fmt.Fprintf(&table, "%-22s %5d", c.name, best)
				for _, from := range []struct{ limit, wait int }{{64, 4}, {64, 20}, {4, 4}} {
					const seeds = 20
					size, rate := 0.0, 0.0
					for seed := range uint64(seeds) {
						r := rand.New(rand.NewPCG(seed, 1))
						u, limit := newTuner(from.limit, 0), from.limit
						c.run(&u, &limit, callers, r, scatter, float64(from.wait))
						s, x := c.run(&u, &limit, callers, r, scatter, 5)
						size, rate = size+s/seeds, rate+x/most/seeds
					}
					fmt.Fprintf(&table, " | %7.1f %6.3f", size, rate)
					at := fmt.Sprintf("%v callers, %s, scatter %v, %v", callers, c.name, scatter, from)
					switch {
					case scatter > 0.1 && from.limit == curveMost && !c.flat:
						assert.Greater(t, rate, 0.97, at)
					case scatter <= 0.05:
						assert.Greater(t, rate, 0.95, at)
						assert.True(t, !c.flat || size <= float64(best)+2 || from.wait < 5 && scatter > 0.02, "%s: %v", at, size)
					}
				}
				fmt.Fprintln(&table)
			}
		}
	}
	t.Log(table.String())
}

func TestTheTunerStaysBetweenItsBounds(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	u := newTuner(40, 0)
	least, most := 1, 64
	for range 20_000 {
		if r.IntN(50) == 0 {
			least = 1 + r.IntN(8)
			most = least + r.IntN(57)
		}
		was := u.base
		limit, why := u.next(sample{done: r.IntN(100), present: r.Float64(), seconds: 0.1, full: r.IntN(4) > 0, waits: r.IntN(4) > 0}, least, most)
		require.True(t, least <= limit && limit <= most && least <= u.base && u.base <= most, "%d, %+v", limit, u)
		require.Equal(t, u.base != was, why != "", "%+v", u)
	}
}

func TestAnEpochWithoutAQueueSaysNothing(t *testing.T) {
	t.Parallel()
	u := newTuner(8, 0)
	for i := range 1000 {
		done := 10
		if i%2 == 1 {
			done = 1000
		}
		_, why := u.next(sample{done: done, seconds: 0.1}, 1, 64)
		assert.Empty(t, why)
	}
	assert.Equal(t, 8, u.base)
}

// The longest rest is 16 s.
func TestAnotherLoadEndsTheRest(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	u, limit := newTuner(4, 0), 4
	curves[0].run(&u, &limit, curveMost, r, 0.02, 120)
	require.LessOrEqual(t, u.base, 6)
	require.Greater(t, u.passes, mostRests, "it has come to its longest rest")
	curve{at: func(n float64) float64 { return 1000 * n }}.run(&u, &limit, curveMost, r, 0.02, 5)
	assert.Greater(t, u.base, 48)
}

// capped returns a core with four connections that have come free, of which the tuner lets one be lent.
func capped(t *testing.T, now time.Time) (k *core, conns []*Conn) {
	cfg := testConfig(4)
	cfg.MaxGroup = 4
	k = newCore(cfg)
	for range 4 {
		c := &Conn{Shares: true}
		k.growth.dialing++
		k.dialed(c, time.Millisecond, now)
		conns = append(conns, c)
	}
	k.growth.epochs.running, k.growth.epochs.cap = true, 1
	got, err := k.take(&Request{}, false, nil, now)
	require.NoError(t, err)
	require.Same(t, conns[3], got)
	return k, conns
}

func TestNoMoreAreLentThanTheTunerLets(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	k, conns := capped(t, now)
	got, err := k.take(&Request{}, false, nil, now)
	require.NoError(t, err)
	assert.Nil(t, got, "three are idle, and stay so")
	ask := func(s Share) *Request {
		r := &Request{Share: s, answer: newAnswer()}
		require.NoError(t, k.wait(r, false, now))
		return r
	}
	first, second := ask(nil), ask(nil)
	var rides []*Request
	for range 6 {
		rides = append(rides, ask(&caller{}))
	}
	assert.Nil(t, k.out.done().first)
	k.retain(conns[3], now)
	assert.Same(t, first.answer, k.out.done().first, "what goes to be cleaned leaves its place to an idle one")
	k.release(conns[2], 0, now)
	assert.Same(t, second.answer, k.out.done().first)

	k.growth.epochs.cap = 3
	k.tick(now)
	out := k.out.done()
	require.NotNil(t, out.carry)
	require.NotNil(t, out.carry.next, "two groups take off in one event")
	assert.Equal(t, rides, append(out.carry.Requests, out.carry.next.Requests...))
	assert.Nil(t, out.carry.next.next)

	ask(&caller{})
	k.growth.epochs.cap = 2
	k.release(conns[2], 0, now)
	assert.Nil(t, k.out.done().first, "two are in use, so this one stays idle")
	got, err = k.take(&Request{}, true, nil, now)
	require.NoError(t, err)
	require.NotNil(t, got)
	assert.False(t, k.nextGroup(out.carry, true, now), "its connection is one too many")
	k.growth.epochs.cap = 3
	assert.True(t, k.nextGroup(out.carry, true, now))
}

// Nobody waited at the limit, so a probe of fewer connections must not be what refuses a caller, or makes one late.
func TestAProbeYieldsToCallersWhoWouldBeRefused(t *testing.T) {
	t.Parallel()
	for _, why := range []string{"the queue is full", "there is pressure"} {
		now := time.Unix(1e9, 0)
		k, _ := capped(t, now)
		k.growth.limit = 4
		k.growth.epochs.tuner = newTuner(4, 0)
		k.growth.epochs.tuner.probe, k.growth.epochs.tuner.crowd, k.growth.epochs.tuner.least = 1, 4, 1
		ask := func(within time.Duration) *Request {
			r := &Request{answer: newAnswer()}
			r.bounded, r.answer.due = true, now.Add(within)
			require.NoError(t, k.wait(r, false, now), why)
			return r
		}
		first := ask(20 * time.Millisecond)
		require.Nil(t, k.out.done().first)
		if why == "the queue is full" {
			k.admission.maxQueue = 1
		} else {
			now = now.Add(18 * time.Millisecond)
		}
		second := ask(20 * time.Millisecond)
		out := k.out.done()
		require.Same(t, first.answer, out.first, why)
		assert.Same(t, second.answer, out.first.next, why)
		assert.Positive(t, out.epoch, why)
		assert.Equal(t, 4, k.growth.room(&k.queue), why)
	}
}

// What its caller holds may not come free before it has an answer.
func TestWhoHoldsAConnectionGetsWhatTheTunerKeepsBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	k, _ := capped(t, now)
	got, err := k.take(&Request{}, true, nil, now)
	require.NoError(t, err)
	assert.NotNil(t, got)
	got, err = k.take(&Request{Within: &Within{}}, false, nil, now)
	require.NoError(t, err)
	assert.NotNil(t, got)
	waits := &Request{answer: newAnswer()}
	require.NoError(t, k.wait(waits, false, now))
	require.Nil(t, k.out.done().first)
	holds := &Request{answer: newAnswer()}
	holds.answer.Holds = true
	require.NoError(t, k.wait(holds, false, now))
	assert.Same(t, holds.answer, k.out.done().first, "it waits only while nothing is idle")
	assert.True(t, waits.queued)
}

// If nothing comes free, that is not the server's pace: holders may wait for each other, in ways that the scheduler does not see.
func TestIfNothingComesFreeAllMayBeLent(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	k, _ := capped(t, now)
	waits := &Request{answer: newAnswer()}
	require.NoError(t, k.wait(waits, false, now))
	k.cfg.Random = func(time.Duration) time.Duration { return 0 }
	for range 2 + mostSettles {
		require.Nil(t, k.out.done().first)
		now = now.Add(leastEpoch)
		k.epoch(now)
		if !k.growth.epochs.running {
			break
		}
	}
	assert.Same(t, waits.answer, k.out.done().first)
}
