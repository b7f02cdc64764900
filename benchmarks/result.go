package main

import (
	"encoding/json"
	"os"
	"path/filepath"
)

const resultFile = "result.json"

// Result is what result.json holds.
type Result struct {
	Settings Settings `json:"settings"`
	Rows     []Row    `json:"rows"`
	Ratios   []Ratio  `json:"ratios"`
}

// Row has the figures of one cell: the medians of the rounds, and their least and greatest values.
type Row struct {
	Workload   string `json:"workload"`
	Link       string `json:"link"`
	Loop       string `json:"loop"`
	System     string `json:"system"`
	MaxConns   int    `json:"max_conns"`
	Goroutines int    `json:"goroutines"`    // 0 in an open loop
	Offered    figure `json:"offered_per_s"` // arrivals of an open loop

	Throughput      figure `json:"throughput_per_s"`
	ThroughputRange spread `json:"throughput_range"`
	P50             figure `json:"p50_ms"`
	P50Range        spread `json:"p50_range"`
	P99             figure `json:"p99_ms"`
	P99Range        spread `json:"p99_range"`

	// CPU microseconds per statement.
	Client      figure `json:"client_cpu_us"`
	ClientRange spread `json:"client_cpu_range"`
	Server      figure `json:"server_cpu_us"`
	ServerRange spread `json:"server_cpu_range"`
	Proxy       figure `json:"link_cpu_us"`
	ProxyRange  spread `json:"link_cpu_range"`

	PeakConnections int    `json:"peak_connections"` // the greatest number in any round
	Statements      int    `json:"statements"`       // statements that were measured, in all rounds
	LateP99         figure `json:"arrivals_late_p99_ms"`
	Errors          int    `json:"errors"`
	FirstError      string `json:"first_error,omitempty"`

	readings []reading // by round
}

func newRow(c cell, readings []reading) Row {
	r := Row{
		Workload: c.workload.name, Link: c.link, Loop: c.loop,
		System: c.system.name, MaxConns: c.system.maxConns, Goroutines: c.goroutines,
		readings: readings,
	}
	r.Offered, _ = r.summary(func(x reading) float64 { return x.offered })
	r.Throughput, r.ThroughputRange = r.summary(throughput.of)
	r.P50, r.P50Range = r.summary(p50.of)
	r.P99, r.P99Range = r.summary(p99.of)
	r.Client, r.ClientRange = r.summary(clientCPU.of)
	r.Server, r.ServerRange = r.summary(serverCPUTime.of)
	r.Proxy, r.ProxyRange = r.summary(func(x reading) float64 { return x.link })
	r.LateP99, _ = r.summary(func(x reading) float64 { return x.lateP99 })
	for _, x := range readings {
		r.PeakConnections = max(r.PeakConnections, x.peak)
		r.Statements += x.statements
		r.Errors += x.errors
		if r.FirstError == "" && x.firstError != nil {
			r.FirstError = x.firstError.Error()
		}
	}
	return r
}

// values returns the value that of returns for each round.
func (r *Row) values(of func(reading) float64) []float64 {
	values := make([]float64, len(r.readings))
	for i, x := range r.readings {
		values[i] = of(x)
	}
	return values
}

func (r *Row) summary(of func(reading) float64) (figure, spread) {
	values := r.values(of)
	return median(values), spreadOf(values)
}

// failed reports whether a statement failed.
func (r *Result) failed() bool {
	for i := range r.Rows {
		if r.Rows[i].Errors > 0 {
			return true
		}
	}
	return false
}

// writeJSON writes v to a file, and makes the file's directory if there is none.
func writeJSON(file string, v any) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	doc, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(doc, '\n'), 0o644)
}
