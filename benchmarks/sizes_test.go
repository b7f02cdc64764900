package main

import (
	"context"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// TestSizesAreMeasured measures everything once, for a moment, against a real PostgreSQL.
func TestSizesAreMeasured(t *testing.T) {
	t.Parallel()
	o, err := parseSizes([]string{"-short", "-duration", "30ms", "-settle", "30ms"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r, err := measureSizes(t.Context(), o, func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Mixes) != len(mixes) || len(r.Changes) != len(changes) || len(r.Cold) != 8 {
		t.Errorf("%d mixes, %d changes, %d cold figures; want %d, %d, 8", len(r.Mixes), len(r.Changes), len(r.Cold), len(mixes), len(changes))
	}
	for _, m := range r.Mixes {
		if len(m.Sizes) != len(sizesSwept) || m.Best == 0 {
			t.Errorf("%s: %d sizes, of which %d is the best", m.Mix, len(m.Sizes), m.Best)
		}
	}
	for _, c := range r.Cold {
		if strings.Contains(c.Figure, "opened") && (c.Value < 1 || c.Value > 64) || !c.Value.known() {
			t.Errorf("%s: %s: %v", c.Figure, c.System, c.Value)
		}
		if strings.Contains(c.Figure, "MinConns") && !c.want.met(c.Value) {
			t.Errorf("%s: %v, want %v", c.Figure, c.Value, c.want) // the pool was idle for seconds, and its MaxConnIdleTime is 300 ms
		}
	}
	var b strings.Builder
	if err := r.print(&b); err != nil || strings.Contains(b.String(), "%!") || strings.Contains(b.String(), "want") {
		t.Errorf("%v: a table without faults, and without bounds in a short run, is wanted:\n%s", err, b.String())
	}
}

func TestTheBestSizeIsTheLeastThatIsAsGood(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		throughput map[int][]float64
		want       int
	}{
		{map[int][]float64{1: {50}, 2: {96}, 4: {98}, 8: {100}, 16: {99}}, 4},
		{map[int][]float64{1: {50}, 2: {97}, 4: {100}}, 2},
		{map[int][]float64{1: {500, 1, 2}, 2: {90, 90, 90}}, 2}, // size 1 was fast in one round only
		{map[int][]float64{64: {1}}, 64},
		{nil, 0},
	} {
		if got := bestSize(c.throughput); got != c.want {
			t.Errorf("%v: %d, want %d", c.throughput, got, c.want)
		}
	}
}

func TestAutomaticAndFixedAreCompared(t *testing.T) {
	t.Parallel()
	c := newCompared(
		[]sized{{perSecond: 90, connections: 4, inUse: 2}, {perSecond: 100, connections: 6, inUse: 3}, {perSecond: 120, connections: 5, inUse: 4}},
		[]sized{{perSecond: 100}, {perSecond: 200}, {perSecond: 100}})
	if c.Auto != 100 || c.Fixed != 100 || c.Ratio != 1 || c.Range != (spread{0.5, 1.2}) || c.Connections != 6 || c.InUse != 3 {
		t.Errorf("%+v: want 100 of 100, ratios of 0.5 to 1.2, 6 connections, 3 in use", c)
	}
	if c := newCompared(nil, nil); c.Ratio.known() {
		t.Errorf("%+v: want no ratio of nothing", c)
	}
}

func TestWhatIsWantedOfASizeIsJudged(t *testing.T) {
	t.Parallel()
	nan := figure(math.NaN())
	for _, c := range []struct {
		short bool
		w     want
		x     figure
		want  string
	}{
		{false, atLeast(0.95), 0.96, "(want >= 0.95)"},
		{false, atLeast(0.95), 0.94, "(want >= 0.95) MISSED"},
		{false, atMost(4), 5, "(want <= 4) MISSED"},
		{true, atMost(4), 5, ""},
		{false, want{}, 5, ""},
		{false, atMost(4), nan, ""},
	} {
		r := &sizesResult{short: c.short}
		if got := r.judge(c.w, c.x); got != c.want {
			t.Errorf("%v of %v: %q, want %q", c.w, c.x, got, c.want)
		}
	}
}

func TestFaultySizesFlagsAreNamed(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-rounds 0": "-rounds", "-duration 0s": "-duration", "-settle 0s": "-settle", "point": "every option is a flag", "-h": "15 minutes",
	} {
		var b strings.Builder
		if _, err := parseSizes(strings.Fields(args), &b); err == nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v, want an error with %q", args, err, want)
		}
	}
	o, err := parseSizes([]string{"-short", "-settle", "1s"}, io.Discard)
	if err != nil || o.settle != time.Second || o.rounds != 1 || o.command != `make sizes ARGS='-settle=1s -short'` {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestSomeSizesCanBeChosen(t *testing.T) {
	t.Parallel()
	o, err := parseSizes([]string{"-only", "^durable, then point$"}, io.Discard)
	if err != nil || !o.isBase(mixNamed("point")) || o.isBase(mixNamed("durable")) || o.only.MatchString(coldName) {
		t.Errorf("%+v, %v: want the best size for point, and nothing else before the change", o, err)
	}
	if all, _ := parseSizes(nil, io.Discard); o.expected() >= all.expected()/5 {
		t.Errorf("%v, and all takes %v", o.expected(), all.expected())
	}
}

// TestAMixOfEachKindRuns runs every branch of each mix once.
func TestAMixOfEachKindRuns(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := startServer(ctx, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	p, err := newSized(ctx, s, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, w := range mixes {
		for _, draw := range []float64{0, 0.49, 0.51, 0.85, 0.95, 0.99} {
			if err := w.run(ctx, p, pick{id: 7, draw: draw}); err != nil {
				t.Errorf("%s, %v: %v", w.name, draw, err)
			}
		}
	}
}
