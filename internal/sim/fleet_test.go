package sim

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newFleet returns a fleet with a budget. If limit is true, it is the role's CONNECTION LIMIT, and the environments are told nothing; else each
// environment is told the budget, and the server refuses nothing.
func newFleet(seed uint64, budget int, limit bool) *Fleet {
	f := &Fleet{World: NewWorld(seed, nil), Dial: 50 * ms, Hold: 50 * ms, Linger: sec, Late: 20 * ms, Over: -budget}
	if limit {
		f.Limit = budget
	} else {
		f.Budget = budget
	}
	return f
}

// until makes the events up to then happen, and looks each second.
func (f *Fleet) until(t *testing.T, then time.Duration, look func()) {
	t.Helper()
	for f.now < then {
		require.NoError(t, f.Run(min(then, f.now+sec)))
		if look != nil {
			look()
		}
	}
}

// off returns how many environments may hold more than by connections above or below their share.
func (f *Fleet) off(by int) (n int) {
	fair := f.Fair()
	for _, m := range f.Members {
		if d := m.Share.Most(f.Now()) - fair; d > by || d < -by {
			n++
		}
	}
	return n
}

// any returns a random member.
func (f *Fleet) any() *Member { return f.Members[f.Rand.IntN(len(f.Members))] }

// histories is how many random histories a test makes: few, or 20 times as many if LMIPOOL_TEST_SIM is set.
func histories(few uint64) uint64 {
	if os.Getenv("LMIPOOL_TEST_SIM") != "" {
		return few * 20
	}
	return few
}

// Random histories of small fleets: arrivals one by one, departures, kills, deployments that double the fleet at one moment, rests, a failover, a server
// that stands still, lost polls, and other clients of the role that come and go. Without a CONNECTION LIMIT the newcomers of 15 seconds are at most as
// many as there were members, less the backends of others, and half as many in any case. The budget has room for one connection of each. Then it holds,
// whether or not the server has it as its limit.
func TestAFleetIsNeverOverItsBudget(t *testing.T) {
	t.Parallel()
	for seed := range histories(150) {
		w := NewWorld(seed, nil)
		n := 2 + w.Rand.IntN(30)
		others := w.Rand.IntN(10)
		f := newFleet(seed, others+4*n+w.Rand.IntN(20*n), seed%2 == 0)
		f.Others, f.Lost = others, []float64{0, 0.1, 0.3}[w.Rand.IntN(3)]
		var leave, comeBack func()
		leave = func() { f.Others = w.Rand.IntN(others + 1); f.In(f.random(6*sec), comeBack) }
		comeBack = func() {
			if f.Others = others; f.Limit > 0 {
				f.Others = min(others, f.Limit-f.Total) // the server refuses the rest
			}
			f.Look()
			f.In(10*sec+f.random(10*sec), leave)
		}
		f.In(f.random(60*sec), leave)
		for i := range n {
			f.In(time.Duration(i)*sec+f.random(sec), f.Start)
		}
		for at := time.Duration(n) * sec; at < 400*sec; at += 17*sec + f.random(40*sec) {
			f.In(at, func() { f.happen(n, others) })
		}
		f.until(t, 500*sec, nil)
		assert.LessOrEqual(t, f.Over, 0, "seed %d", seed)
	}
}

// happen makes something happen to a fleet of at most 2n environments, beside as many as others backends of others.
func (f *Fleet) happen(n, others int) {
	now := len(f.Members)
	if now == 0 {
		f.Start()
		return
	}
	switch f.Rand.IntN(6) {
	case 0: // a deployment
		var old []*Member
		for _, m := range f.Members {
			if m.Open > 0 && !m.rests && f.now-m.since > 15*sec {
				old = append(old, m)
			}
		}
		most := len(old)
		if f.Limit == 0 {
			most = max(most-others, most/2)
		}
		for range min(2*n-now, most+len(old)-now) { // those that are newcomers, or may come back from their rest, are part of the doubling
			f.Start()
		}
		for _, m := range old {
			f.In(10*sec+f.random(60*sec), func() {
				if !m.gone {
					f.Stop(m, f.chance(0.2))
				}
			})
		}
	case 1:
		for range f.Rand.IntN(now) {
			f.Stop(f.any(), f.chance(0.5))
		}
	case 2:
		if now < 2*n {
			f.Start()
		}
	case 3:
		f.Still = true
		f.In(f.random(30*sec), func() { f.Still = false })
	case 4:
		for range f.Rand.IntN(now) {
			m := f.any()
			m.Rest(true)
			f.In(f.random(60*sec), func() { m.Rest(false) })
		}
	case 5:
		f.Fail()
	}
}
