package main

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
)

func TestAgainstIsTheMedianOfTheRoundsRatios(t *testing.T) {
	t.Parallel()
	at := func(perSecond, p99 float64) report {
		return report{Throughput: figure(perSecond), P99: figure(p99), Client: figure(math.NaN())}
	}
	// In the second round the machine was half as fast for both builds, so the ratio stays as it is.
	pairs := []pair{{at(1100, 2), at(1000, 2)}, {at(480, 8), at(500, 4)}, {at(900, 3), at(1000, 2)}}
	got := against("cell", pairs, true)
	for i, want := range []struct {
		value  float64
		ratios spread
		met    bool
	}{{0.96, spread{0.9, 1.1}, false}, {1.5, spread{1, 2}, false}} {
		r := got[i]
		near := func(a figure, b float64) bool { return math.Abs(float64(a)-b) < 1e-9 }
		if !near(r.Value, want.value) || !near(r.Range[0], float64(want.ratios[0])) || !near(r.Range[1], float64(want.ratios[1])) || r.Met == nil || *r.Met != want.met {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
	if r := got[2]; r.Value.known() || r.Met != nil {
		t.Errorf("%+v, want nothing known of what was not measured", r)
	}
}

func TestAFigureSurvivesJSON(t *testing.T) {
	t.Parallel()
	var r report
	text, err := json.Marshal(report{Throughput: 12, P99: figure(math.NaN())})
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.Throughput != 12 || r.P99.known() {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestABuildAgainstItself compares this binary with itself, in short measurements.
func TestABuildAgainstItself(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o, err := parseFlags([]string{"-against", self, "-short", "-rounds", "2", "-warmup", "5ms", "-duration", "40ms"}, devNull(t))
	if err != nil {
		t.Fatal(err)
	}
	c, err := compare(t.Context(), o, newProgress(devNull(t)))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"point/loopback/closed64/lmipool-2", "rows20/loopback/closed64/lmipool-2", "mixed/loopback/closed64/lmipool-4", "make bench-against REV="} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if len(c.Ratios) != 3*len(measured) || c.failed() {
		t.Errorf("%d ratios, errors %v", len(c.Ratios), c.Errors)
	}
}
