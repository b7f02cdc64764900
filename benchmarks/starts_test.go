package main

import (
	"io"
	"strings"
	"testing"
)

// TestStartsAreMeasured starts each handler once, with a real PostgreSQL.
func TestStartsAreMeasured(t *testing.T) {
	t.Parallel()
	o, err := parseStart([]string{"-short", "-module", "."}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r, err := measureStarts(t.Context(), o, func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != len(startSystems) || r.Sizes["lmipool"] <= r.Sizes["pgxpool"] || r.Sizes["pgxpool"] < 1e6 {
		t.Errorf("%+v: want %d rows, and two sizes", r, len(startSystems))
	}
	for i, x := range r.Rows {
		sum := figure(0)
		for _, part := range x.Parts {
			sum += part
		}
		if x.All <= 0 || sum < 0.99*x.All || sum > 1.01*x.All || x.CPU[1] <= x.CPU[0] || x.Second <= 0 || (x.Ratio > 0) != (i%2 == 1) {
			t.Errorf("%+v: want parts whose sum is the whole, CPU times that grow, and a ratio for lmipool only", x)
		}
	}
	var b strings.Builder
	if err := r.print(&b); err != nil || strings.Contains(b.String(), "%!") || strings.Contains(b.String(), "want") {
		t.Errorf("%v: a table without faults, and without bounds in a short run, is wanted:\n%s", err, b.String())
	}
}

func TestFaultyStartFlagsAreNamed(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{"-rounds 0": "-rounds", "point": "every option is a flag", "-h": "about a minute"} {
		var b strings.Builder
		if _, err := parseStart(strings.Fields(args), &b); err == nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v, want an error with %q", args, err, want)
		}
	}
}

func TestTheQuarterIsTheQuarter(t *testing.T) {
	t.Parallel()
	if q := quarter([]float64{5, 1, 4, 2, 3}); q != 2 {
		t.Errorf("%v, want 2", q)
	}
}
