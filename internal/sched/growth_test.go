package sched

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// demand is what the growth rule looks at.
type demand struct {
	waiting, conns, dialing int
	leastHold, dial         time.Duration
	stalled, debt           time.Duration
	busy, sinceDial         time.Duration
}

func (d demand) grow() bool {
	now := time.Unix(1000, 0)
	g := growth{dialing: d.dialing, stalled: d.stalled, debt: debt{d.debt, now}, grewAt: now.Add(-d.sinceDial)}
	g.dial.add(d.dial)
	g.leastHold.add(d.leastHold)
	if d.busy > 0 {
		g.busySince = now.Add(-d.busy)
	}
	return g.grow(d.waiting, d.conns, now)
}

func TestTheGrowthRule(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct {
		name string
		d    demand
		grow bool
	}{
		{"nobody waits, though all else speaks for it", demand{stalled: time.Hour, leastHold: time.Hour, busy: time.Hour, sinceDial: time.Hour}, false},
		{"more dials than waiters", demand{waiting: -1, conns: 1, stalled: time.Hour}, false},
		{"no connection at all", demand{waiting: 1}, true},

		{"a dial's time, and nothing came free", demand{waiting: 1, conns: 4, dial: 40 * ms, stalled: 40 * ms}, true},
		{"not yet a dial's time", demand{waiting: 1, conns: 4, dial: 40 * ms, stalled: 40*ms - 1}, false},
		{"a quick dial is taken for 25 ms", demand{waiting: 1, conns: 4, dial: ms, stalled: 25 * ms}, true},
		{"which are not over", demand{waiting: 1, conns: 4, dial: ms, stalled: 25*ms - 1}, false},

		{"short stalls that come to a dial", demand{waiting: 1, conns: 4, dial: 30 * ms, debt: 30 * ms}, true},
		{"and to less", demand{waiting: 1, conns: 4, dial: 30 * ms, debt: 30*ms - 1}, false},

		{"the first dial has its time", demand{waiting: 1, conns: 1, dialing: 1, dial: 30 * ms, stalled: 120*ms - 1}, false},
		{"but not for ever", demand{waiting: 1, conns: 1, dialing: 1, dial: 30 * ms, stalled: 120 * ms}, true},

		{"a burst that drains in four dials", demand{waiting: 8, conns: 2, dial: 30 * ms, leastHold: 30 * ms}, false},
		{"a burst that takes longer", demand{waiting: 8, conns: 2, dial: 30 * ms, leastHold: 31 * ms}, true},
		{"more connections drain it", demand{waiting: 8, conns: 3, dial: 30 * ms, leastHold: 31 * ms}, false},
		{"four quick dials are 100 ms", demand{waiting: 8, conns: 2, dial: ms, leastHold: 25 * ms}, false},
		{"and no more", demand{waiting: 8, conns: 2, dial: ms, leastHold: 26 * ms}, true},
		{"a burst goes by the least hold", demand{waiting: 8, conns: 2, leastHold: ms, busy: 250*ms - 1, sinceDial: time.Hour}, false},

		{"load", demand{waiting: 1, conns: 4, busy: 250 * ms, sinceDial: 50 * ms}, true},
		{"it is no load before a quarter of a second", demand{waiting: 1, conns: 4, busy: 250*ms - 1, sinceDial: time.Hour}, false},
		{"something was idle a moment ago", demand{waiting: 1, conns: 4, sinceDial: time.Hour}, false},
		{"one at a time", demand{waiting: 1, conns: 4, busy: time.Minute, sinceDial: 50*ms - 1}, false},
	} {
		assert.Equal(t, c.grow, c.d.grow(), c.name)
	}
}

func TestADebtThatIsForgivenIsNoReasonToGrow(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	g := growth{debt: debt{30 * time.Millisecond, now.Add(-time.Second)}}
	assert.True(t, g.grow(1, 1, now.Add(-time.Millisecond)))
	assert.False(t, g.grow(1, 1, now))
}

func TestAnAverageFollowsByAnEighth(t *testing.T) {
	t.Parallel()
	var a average
	a.add(0) // a value like any other
	for _, c := range []struct{ add, want time.Duration }{{800, 100}, {100, 100}, {20, 90}} {
		a.add(c.add)
		assert.Equal(t, c.want, a.d)
	}
	var first average
	first.add(800)
	assert.EqualValues(t, 800, first.d, "the first is taken as it is")
}

func TestADebtIsForgivenByHalves(t *testing.T) {
	t.Parallel()
	var d debt
	at := time.Unix(1000, 0)
	for _, c := range []struct{ after, add, want time.Duration }{
		{0, 8, 8}, {time.Second - 1, 8, 16}, {1, 8, 16}, {2 * time.Second, 4, 8}, {time.Hour, 8, 8}, {time.Second, 0, 4},
	} {
		at = at.Add(c.after)
		d.add(c.add, at)
		assert.Equal(t, c.want, d.d)
	}
}

func TestTheLeastFallsAtOnceAndRisesSlowly(t *testing.T) {
	t.Parallel()
	var l least
	for _, c := range []struct{ add, want time.Duration }{{6400, 6400}, {12800, 6500}, {100, 100}, {6500, 200}, {0, 0}, {640, 10}} {
		l.add(c.add)
		assert.Equal(t, c.want, l.d)
	}
}
