package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lmipool/lmipool/pool"
)

// TestOverloadIsMeasured runs a scenario of each kind, for a moment, against a real PostgreSQL.
func TestOverloadIsMeasured(t *testing.T) {
	t.Parallel()
	o, err := parseOverload([]string{"-short", "-duration", "200ms", "-times", "1", "-only", "^mixed/200ms.2s/1.25x|^hold/(retry/2x|steps$|still$|fair)"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r, err := overload(t.Context(), o, func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	if want := len(o.selected()) * len(rivals); len(r.Outcomes) != want {
		t.Fatalf("%d outcomes, want %d", len(r.Outcomes), want)
	}
	for i := range r.Outcomes {
		x := &r.Outcomes[i]
		name := x.Scenario + " " + x.System
		if x.Capacity < 1 || x.Offered == 0 {
			t.Errorf("%s: capacity %v, %d calls; want some", name, x.Capacity, x.Offered)
		}
		if sum := x.InTime + x.Late + x.OnArrival + x.FromQueue + x.InQueue + x.InFlight + x.Broken; sum != x.Offered {
			t.Errorf("%s: %d calls have a fate, of %d", name, sum, x.Offered)
		}
		if back := x.of.kind != fair; back != (x.Regains != nil) || back == (x.Others != nil) {
			t.Errorf("%s: regained %v, others %v", name, x.Regains, x.Others)
		}
	}
	var b strings.Builder
	if err := r.print(&b); err != nil || strings.Contains(b.String(), "%!") || strings.Contains(b.String(), "want") {
		t.Errorf("%v: a table without faults, and without bounds in a short run, is wanted:\n%s", err, b.String())
	}
}

// TestAServerThatIsFrozenAnswersNobody uses the wall clock only to see that no answer comes.
func TestAServerThatIsFrozenAnswersNobody(t *testing.T) {
	t.Parallel()
	s, err := startServer(t.Context(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	d, err := openPressed(t.Context(), lmipool, connString(s.pg.Addr()), 1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	thaw, err := s.freeze(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { _, err := d.Exec(t.Context(), "select 1"); answered <- err }()
	select {
	case err := <-answered:
		t.Errorf("it answered, with %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	thaw()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestFates(t *testing.T) {
	t.Parallel()
	const service = 20 * ms
	noTime := func(left time.Duration) error { return &pool.NoTimeError{Left: left, ExpectedService: service} }
	inside := func(err error) error { return &pool.AcquireError{Err: err} }
	for _, c := range []struct {
		err  error
		over bool
		want fate
	}{
		{nil, false, inTime},
		{nil, true, late},
		{inside(noTime(service)), false, fromQueue},
		{inside(noTime(-5 * ms)), true, fromQueue},
		{inside(context.DeadlineExceeded), true, inQueue},
		{context.DeadlineExceeded, true, inQueue},
		{fmt.Errorf("timeout: %w", context.DeadlineExceeded), true, inFlight},
		{errors.New("canceling statement due to user request"), true, inFlight},
		{errors.New("too many clients"), false, broken},
	} {
		got, named := fateOf(c.err, c.over)
		if got != c.want || (got == fromQueue) != (named == service) {
			t.Errorf("%v, over %v: fate %d, service %v; want %d", c.err, c.over, got, named, c.want)
		}
	}
}

func TestARefusalOnArrivalIsToldFromOneFromTheQueue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		made, took time.Duration
		early      bool
	}{
		{0, ms, true},
		{0, 100 * ms, true}, // much too late, but on arrival
		{0, 480 * ms, false},
		{0, 440 * ms, false},       // the expected service has changed since the call was made
		{400 * ms, 401 * ms, true}, // the generator was late
		{400 * ms, 480 * ms, false},
		{490 * ms, 491 * ms, true}, // so late that there was no time to wait
	} {
		x := call{took: c.took, returned: c.took - c.made, within: 500 * ms, service: 20 * ms}
		if x.isEarly() != c.early {
			t.Errorf("made after %v, returned after %v: early %v, want %v", c.made, c.took, x.isEarly(), c.early)
		}
	}
}

func TestPlansHaveTheirSteps(t *testing.T) {
	t.Parallel()
	o := &overloadOptions{duration: 10 * time.Second, times: 3}
	for _, s := range scenarios() {
		stretches, at, from, to := s.plan(o, 190)
		var ends time.Duration
		var rates []float64 // at the end of each stretch
		var bounds []time.Duration
		for _, x := range stretches {
			ends += x.lasts
			sum := 0.0
			for _, r := range x.rates {
				sum += r
			}
			rates, bounds = append(rates, sum), append(bounds, ends)
		}
		if from < 0 || to != ends || from >= to {
			t.Errorf("%s: the window is %v..%v of %v", s.name, from, to, ends)
		}
		most := slices.Max(rates) * s.w.meanWeight() / 190
		if d := most - s.x; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s: %v × the capacity at most, want %v", s.name, most, s.x)
		}
		want := map[kind]int{steady: 1, steps: 3, standing: 3}[s.kind]
		if len(at) != want {
			t.Errorf("%s: %d times to regain the capacity, want %d", s.name, len(at), want)
		}
		for _, x := range at {
			if s.kind != standing && !slices.Contains(bounds, x) {
				t.Errorf("%s: %v is no step; they are at %v", s.name, x, bounds)
			}
		}
	}
}

func TestArrivalsFollowTheirStretches(t *testing.T) {
	t.Parallel()
	all := arrivals(3, []stretch{{2 * time.Second, []float64{0, 500}}, {time.Second, []float64{2000, 1000}}})
	count := map[[2]int]int{}
	for i, a := range all {
		if i > 0 && a.due < all[i-1].due {
			t.Fatal("arrivals are out of order")
		}
		second := 0
		if a.due >= 2*time.Second {
			second = 1
		}
		count[[2]int{second, a.key}]++
	}
	for at, want := range map[[2]int]int{{0, 0}: 0, {0, 1}: 1000, {1, 0}: 2000, {1, 1}: 1000} {
		if got := count[at]; got < want*9/10-1 || got > want*11/10 {
			t.Errorf("stretch %d, key %d: %d arrivals, want about %d", at[0], at[1], got, want)
		}
	}
}

func TestClaimsSayWhatIsMissed(t *testing.T) {
	t.Parallel()
	o := &overloadOptions{duration: time.Second, times: 1, only: regexp.MustCompile("")}
	all := []outcome{
		{Scenario: "mixed/500ms/2x", System: lmipool, Load: 2, figures: figures{Goodput: 0.9, Heavy: 0.85, ArrivalP99: 0.2, QueueP99: percentile(nil, 99)}, of: scenario{w: &pressedOnes[2]}},
		{Scenario: "mixed/500ms/2x", System: plain, of: scenario{w: &pressedOnes[2]}},
	}
	met := map[string]bool{}
	for _, l := range o.claims(all) {
		met[l.Figure] = *l.Met
	}
	want := map[string]bool{
		"answered late without an error": true, "failed for another reason": true, "refused on arrival, call to return p99 ms": true,
		"goodput of capacity": false, "heavy calls' share of their share": true,
	}
	if fmt.Sprint(met) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", met, want)
	}
}

func TestFaultyOverloadFlagsAreNamed(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-duration 1ms": "-duration", "-times 0": "-times", "-only (": "-only", "-only nothing": "hold/500ms/1x", "-out=": "-out", "hold": "every option is a flag", "-h": "two hours",
	} {
		var b strings.Builder
		if _, err := parseOverload(strings.Fields(args), &b); err == nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v, want an error with %q", args, err, want)
		}
	}
}

func TestTheCommandThatRepeatsAnOverloadHasItsFlags(t *testing.T) {
	t.Parallel()
	o, err := parseOverload([]string{"-only", "^hold/5", "-times", "3", "-out", "x"}, io.Discard)
	if want := `make overload ARGS='-only="^hold/5" -times=3'`; err != nil || o.command != want {
		t.Errorf("command %s, %v, want %s", o.command, err, want)
	}
}
