package main

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestFiguresOfCalls(t *testing.T) {
	t.Parallel()
	calls := []call{
		{due: 0, took: 50 * ms, within: 500 * ms, weight: 1, feasible: true, fate: inTime}, // ended before the window
		{due: 90 * ms, took: 20 * ms, within: 500 * ms, weight: 2, feasible: true, fate: inTime},
		{due: 100 * ms, took: 40 * ms, within: 500 * ms, weight: 10, heavy: true, feasible: true, fate: inTime},
		{due: 110 * ms, took: 10 * ms, within: 500 * ms, weight: 10, feasible: true, fate: inTime},
		{due: 120 * ms, took: 510 * ms, within: 500 * ms, weight: 10, heavy: true, feasible: true, fate: late},
		{due: 130 * ms, took: 9 * ms, returned: 2 * ms, within: 500 * ms, weight: 10, feasible: true, fate: onArrival},
		{due: 140 * ms, took: 485 * ms, service: 20 * ms, within: 500 * ms, weight: 1, heavy: true, fate: fromQueue}, // not feasible
		{due: 150 * ms, took: 500 * ms, within: 500 * ms, weight: 10, heavy: true, feasible: true, fate: inFlight},
		{due: 160 * ms, took: 500 * ms, within: 500 * ms, weight: 10, heavy: true, feasible: true, fate: inQueue},
		{due: 190 * ms, took: 20 * ms, within: 500 * ms, weight: 10, heavy: true, feasible: true, fate: broken},
		{due: 195 * ms, took: 20 * ms, within: 500 * ms, weight: 20, feasible: true, fate: inTime}, // ends after the window
		{due: 150 * ms}, // a retry that was not needed
		{due: 200 * ms, took: 1 * ms, within: 500 * ms, weight: 10, feasible: true, fate: inTime}, // due after the window
	}
	f := measureCalls(calls, 100*ms, 200*ms, 220)
	for name, c := range map[string][2]figure{
		"goodput": {f.Goodput, 1},                     // 2+10+10 of 22
		"heavy":   {f.Heavy, (10. / 40) / (50. / 90)}, // of what was due in the window
		"p50":     {f.P50, 20}, "p99": {f.P99, 40},
		"late by":     {f.LateBy, 10},
		"arrival p50": {f.ArrivalP50, 2}, "arrival p99": {f.ArrivalP99, 2},
		"queue p99": {f.QueueP99, 5},
	} {
		if d := c[0] - c[1]; d > 1e-9 || d < -1e-9 || !c[0].known() {
			t.Errorf("%s is %v, want %v", name, c[0], c[1])
		}
	}
	if f.Offered != 9 || f.InTime != 3 || f.Late != 1 || f.OnArrival != 1 || f.FromQueue != 1 || f.InFlight != 1 || f.InQueue != 1 || f.Broken != 1 {
		t.Errorf("%+v: want 9 calls, 3 in time, one of each other fate", f)
	}
	if empty := measureCalls(nil, 0, time.Second, 0); empty.Goodput.known() || empty.Heavy.known() || empty.P99.known() {
		t.Errorf("%+v: want no figures of nothing", empty)
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for i := 200; i > 0; i-- {
		all = append(all, time.Duration(i)*ms)
	}
	for percent, want := range map[float64]figure{0: 1, 50: 100, 99: 198, 99.5: 199, 100: 200} {
		if got := percentile(all, percent); got != want {
			t.Errorf("%v %%: %v, want %v", percent, got, want)
		}
	}
	if percentile(nil, 50).known() {
		t.Error("nothing has a median")
	}
}

// every returns one call for each gap between from and to, all answered in time.
func every(gap, from, to time.Duration) (calls []call) {
	for end := from; end < to; end += gap {
		calls = append(calls, call{due: end - ms, took: ms, weight: 2, fate: inTime})
	}
	return calls
}

func TestRegained(t *testing.T) {
	t.Parallel()
	const perSecond = 180                            // of 200, which is a call of weight 2 every 10 ms
	slow := every(20*ms, 0, time.Second)             // half of 200
	back := every(10*ms, time.Second, 2*time.Second) // all of 200
	for _, c := range []struct {
		calls []call
		at    time.Duration
		after time.Duration
		never bool
	}{
		{append(slow, back...), 500 * ms, 480 * ms, false}, // two windows early: it may have one gap, and 9 of 10 are enough
		{append(slow, back...), time.Second, 0, false},
		{slow, 0, time.Second, true},
		{back, 1500 * ms, 0, false},
		{nil, 0, time.Second, true},
	} {
		after, never := regained(c.calls, c.at, c.at+time.Second, perSecond)
		if after != c.after || never != c.never {
			t.Errorf("%d calls, at %v: %v, never %v; want %v, %v", len(c.calls), c.at, after, never, c.after, c.never)
		}
	}
	lateOnes := every(10*ms, 0, time.Second)
	for i := range lateOnes {
		lateOnes[i].fate = late
	}
	if _, never := regained(lateOnes, 0, time.Second, perSecond); !never {
		t.Error("calls that were answered late counted as goodput")
	}
	r := newRegains(append(slow, back...), []time.Duration{500 * ms, time.Second, 0}, 600*ms, perSecond)
	if r.Mean != 360 || r.Most != 600 || r.Never != 1 || r.Of != 3 {
		t.Errorf("%+v: want 480, 0 and never within 600 ms: a mean of 360", r)
	}
}

func TestGoodputOfKeys(t *testing.T) {
	t.Parallel()
	calls := []call{
		{due: 1 * ms, weight: 1, key: 1, fate: inTime},
		{due: 1 * ms, weight: 3, key: 2, fate: onArrival},
		{due: 1 * ms, weight: 100, key: 0, fate: inTime}, // the key that is left out
		{due: 9 * ms, weight: 7, key: 1, fate: inTime},   // outside
		{due: 1 * ms, key: 1},
	}
	if g := goodputOfKeys(calls, 0, 5*ms, 0); g != 0.25 {
		t.Errorf("%v, want 0.25", g)
	}
}
