package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPercentileIsNearestRank(t *testing.T) {
	t.Parallel()
	var values []time.Duration
	for i := 100; i >= 1; i-- {
		values = append(values, time.Duration(i)*time.Millisecond)
	}
	for _, c := range []struct {
		values  []time.Duration
		p, want float64
	}{
		{values, 50, 50},
		{values, 99, 99},
		{values, 100, 100},
		{values[:1], 50, 100},
		{values[:3], 50, 99},
		{nil, 50, 0},
	} {
		if got := percentile(c.values, c.p); got != c.want {
			t.Errorf("p%v of %d values: %v, want %v", c.p, len(c.values), got, c.want)
		}
	}
}

func TestWrittenFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "demo")
	for range 2 { // a second run replaces the first
		if err := sampleResult().write(dir); err != nil {
			t.Fatal(err)
		}
	}

	var doc struct {
		Settings map[string]any   `json:"settings"`
		Systems  []map[string]any `json:"systems"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Settings) == 0 || len(doc.Systems) != 5 {
		t.Fatalf("%d settings, %d systems; want some, 5", len(doc.Settings), len(doc.Systems))
	}
	for _, s := range doc.Systems {
		for _, key := range []string{
			"name", "peak_in_flight", "peak_connections", "opened", "requests_per_s", "p50_ms", "p99_ms", "throttled", "failed",
		} {
			if _, ok := s[key]; !ok {
				t.Errorf("system %v has no %q", s["name"], key)
			}
		}
	}

	f, err := os.Open(filepath.Join(dir, "curves.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := "system,t_ms,in_flight,connections"; strings.Join(rows[0], ",") != want {
		t.Errorf("header %v, want %s", rows[0], want)
	}
	if len(rows) < 1000 {
		t.Errorf("%d rows, want one for each %v of each system", len(rows), sampleEvery)
	}
}

// sampleResult returns a result as a run may make it. One of its systems did not run, and one had failed requests.
func sampleResult() *Result {
	o := options{
		requests: 1000, clients: 100, concurrency: 64, hold: 500 * time.Millisecond, link: time.Millisecond,
		command: "cd examples && go run ./demo",
	}
	r := &Result{Settings: newSettings(o, time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)), Published: published()}
	r.Settings.PostgreSQL, r.Settings.PgBouncer, r.Settings.MaxConnections = "15.18", "1.18.0", 200
	how := map[string]string{}
	for _, s := range systems() {
		how[s.name] = s.how
	}
	for _, s := range []struct {
		name              string
		flight, low, peak int
		opened            int64
		seconds           float64
		throttled, failed int
		err               string
	}{
		{"default-lambda", 100, 100, 100, 100, 5.4, 0, 0, ""},
		{"per-invocation", 64, 50, 64, 1000, 8.9, 402, 0, ""},
		{"pgbouncer", 0, 0, 0, -1, 0, 0, 0, errNoPgbouncer.Error()},
		{"pgxpool", 64, 64, 64, 64, 8.1, 388, 3, `3 of 1000 requests failed, one of them with: "<b>&'`},
		{"lmipool", 64, 3, 4, 4, 8.0, 391, 0, ""},
	} {
		sys := System{
			Name: s.name, How: how[s.name], InFlight: s.flight, PeakConnections: s.peak, Opened: s.opened,
			Seconds: s.seconds, P50: 503, P99: 521, Throttled: s.throttled, Failed: s.failed, Error: s.err,
		}
		if s.flight > 0 {
			sys.Completed = 1000 - s.failed
			sys.RequestsPerSec = round(float64(sys.Completed) / s.seconds)
			var samples []sample
			for at := time.Duration(0); at.Seconds() < s.seconds; at += sampleEvery {
				samples = append(samples, sample{at, s.flight, s.low + int(at/sampleEvery)%7*(s.peak-s.low)/6})
			}
			sys.curves = newCurves(sampleEvery, time.Duration(s.seconds*float64(time.Second)), samples)
		}
		r.Systems = append(r.Systems, sys)
	}
	return r
}
