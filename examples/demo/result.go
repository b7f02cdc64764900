package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Result is one run of the demo: what result.json holds and report.html shows.
type Result struct {
	Settings  Settings    `json:"settings"`
	Systems   []System    `json:"systems"`
	Published []Published `json:"published_not_measured_here"`
}

// Settings has everything that a reader needs to judge or repeat the run.
type Settings struct {
	Started          string `json:"started"`
	Requests         int    `json:"requests"`
	Clients          int    `json:"clients"`
	Concurrency      int    `json:"concurrency"`
	Hold             string `json:"hold"`
	Link             string `json:"link"`
	RetryPause       string `json:"retry_pause"`
	SampleEvery      string `json:"sample_every"`
	PostgreSQL       string `json:"postgresql"`
	MaxConnections   int    `json:"max_connections"`
	PgBouncer        string `json:"pgbouncer"`
	PgBouncerOptions string `json:"pgbouncer_options"`
	PgBouncerMode    string `json:"pgx_exec_mode_through_pgbouncer"`
	Pgx              string `json:"pgx"`
	LambdaGo         string `json:"aws_lambda_go"`
	Go               string `json:"go"`
	GOMAXPROCS       int    `json:"gomaxprocs"`
	CPUs             int    `json:"cpus"`
	Platform         string `json:"platform"`
	Command          string `json:"command"`
}

// System has the figures of one system. If it failed, they are those up to its failure, and Error says what went wrong.
type System struct {
	Name string `json:"name"`
	How  string `json:"how"`

	InFlight        int     `json:"peak_in_flight"`      // invocations in a runtime at one moment
	PeakConnections int     `json:"peak_connections"`    // backends on the server at one moment, sampled
	Opened          int64   `json:"opened"`              // connections opened in all, -1 where the server does not count them
	RequestsPerSec  float64 `json:"requests_per_s"`      // completed requests ÷ Seconds
	P50             float64 `json:"p50_ms"`              // of the accepted attempt
	P99             float64 `json:"p99_ms"`              // of the accepted attempt
	P99WithRetries  float64 `json:"p99_with_retries_ms"` // from the first attempt on, with the pauses between retries

	Throttled         int `json:"throttled"`          // requests that were throttled at least once
	ThrottleResponses int `json:"throttle_responses"` // throttled attempts of all requests
	Failed            int `json:"failed"`
	Completed         int `json:"completed"`

	Seconds      float64 `json:"seconds"`      // first request to last reply
	Environments int     `json:"environments"` // Lambda environments (processes) that ran
	Samples      int     `json:"samples"`
	SampleGapMax float64 `json:"largest_sample_gap_ms"`

	Error string `json:"error,omitempty"`

	curves Curves
}

// Ran reports whether s has figures to show.
func (s *System) Ran() bool { return s.Completed > 0 }

// fill sets the figures from the load's outcome and the samples.
func (s *System) fill(o outcome, samples []sample, gap time.Duration) {
	s.Completed, s.Failed = len(o.latency), o.failed
	s.Throttled, s.ThrottleResponses = o.throttled, o.throttleResponses
	for _, x := range samples {
		s.PeakConnections = max(s.PeakConnections, x.connections)
	}
	s.P50, s.P99 = percentile(o.latency, 50), percentile(o.latency, 99)
	s.P99WithRetries = percentile(o.withRetries, 99)
	s.Seconds = round(o.wall.Seconds())
	if o.wall > 0 {
		s.RequestsPerSec = round(float64(s.Completed) / o.wall.Seconds())
	}
	s.Samples = len(samples)
	s.SampleGapMax = round(float64(gap) / float64(time.Millisecond))
	s.curves = newCurves(sampleEvery, o.wall, samples)
}

// Published has figures that somebody else measured.
type Published struct {
	Name            string `json:"name"`
	InFlight        int    `json:"peak_in_flight"`
	PeakConnections int    `json:"peak_connections"`
	Throttled       string `json:"throttled"`
}

// published returns the figures of the experiment from which the project started:
// hold 5 s, ab -c 100 -n 1000, on AWS.
func published() []Published {
	return []Published{
		{Name: "default Lambda + PgBouncer in each environment", InFlight: 100, PeakConnections: 100, Throttled: "not stated"},
		{Name: "LMI + PgBouncer as an extension", InFlight: 64, PeakConnections: 22, Throttled: "46 of 1000"},
	}
}

const publishedHow = "hold 5 s, ab -c 100 -n 1000, on AWS"

// Errors lists the systems that failed, one line each.
func (r *Result) Errors() []string {
	var lines []string
	for _, s := range r.Systems {
		if s.Error != "" {
			lines = append(lines, s.Name+": "+s.Error)
		}
	}
	return lines
}

// write puts result.json, curves.csv and report.html into dir.
func (r *Result) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	doc, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "result.json"), append(doc, '\n'), 0o644); err != nil {
		return err
	}
	if err := r.writeCurves(filepath.Join(dir, "curves.csv")); err != nil {
		return err
	}
	page, err := render(r)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "report.html"), page, 0o644)
}

// writeCurves keeps the curves out of result.json, so that a person can read it.
func (r *Result) writeCurves(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	w := csv.NewWriter(f)
	_ = w.Write([]string{"system", "t_ms", "in_flight", "connections"}) // Flush keeps the error
	for _, s := range r.Systems {
		for i := range s.curves.InFlight {
			t := time.Duration(i) * s.curves.Step
			_ = w.Write([]string{
				s.Name,
				strconv.FormatInt(t.Milliseconds(), 10),
				strconv.Itoa(s.curves.InFlight[i]),
				strconv.Itoa(s.curves.Connections[i]),
			})
		}
	}
	w.Flush()
	return w.Error()
}

// percentile returns the nearest-rank p-th percentile in milliseconds, or 0 if there are no values.
func percentile(values []time.Duration, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(p/100*float64(len(sorted)) + 0.9999999)
	rank = min(max(rank, 1), len(sorted))
	return round(float64(sorted[rank-1]) / float64(time.Millisecond))
}

// round keeps two decimals, since a run is not more precise than that.
func round(x float64) float64 {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'f', 2, 64), 64)
	return r
}
