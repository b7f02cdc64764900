package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
	"time"
)

// TestEverythingIsMeasured runs all cells, each for a moment, against a real PostgreSQL.
func TestEverythingIsMeasured(t *testing.T) {
	t.Parallel()
	o := defaults()
	o.rounds, o.timing = 1, timing{warmup: 5 * time.Millisecond, duration: 40 * time.Millisecond}
	o.out = t.TempDir()
	r, err := run(t.Context(), o, newProgress(devNull(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(filepath.Join(o.out, resultFile), r); err != nil {
		t.Fatal(err)
	}

	text, err := os.ReadFile(filepath.Join(o.out, resultFile))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Settings map[string]any   `json:"settings"`
		Rows     []map[string]any `json:"rows"`
		Ratios   []map[string]any `json:"ratios"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Settings["postgresql"] == "" {
		t.Errorf("settings %v have no version of PostgreSQL", doc.Settings)
	}
	if len(doc.Ratios) != len(claims()) {
		t.Errorf("%d ratios, want one for each of %d claims", len(doc.Ratios), len(claims()))
	}
	i := 0
	for _, g := range groups() {
		for _, c := range g.all() {
			if i == len(doc.Rows) {
				t.Fatalf("%d rows, want more: the next is %s", i, c.name())
			}
			checkRow(t, c, doc.Rows[i])
			i++
		}
	}
	if i != len(doc.Rows) {
		t.Errorf("%d rows, want %d", len(doc.Rows), i)
	}
}

func checkRow(t *testing.T, c cell, row map[string]any) {
	t.Helper()
	for key, want := range map[string]any{
		"workload": c.workload.name, "link": c.link, "loop": c.loop, "system": c.system.name,
		"max_conns": float64(c.system.maxConns), "goroutines": float64(c.goroutines), "errors": 0.0,
	} {
		if row[key] != want {
			t.Errorf("%s: %s is %v, want %v (%v)", c.name(), key, row[key], want, row["first_error"])
		}
	}
	if peak, _ := row["peak_connections"].(float64); peak < 1 || int(peak) > c.system.maxConns {
		t.Errorf("%s: %v connections at the peak, want 1 to %d", c.name(), row["peak_connections"], c.system.maxConns)
	}
	// In so short a time a busy machine may run no statement. If it ran some, the row must have their figures.
	if done, _ := row["statements"].(float64); done == 0 {
		t.Logf("%s: no statement ended in time", c.name())
		return
	}
	positive := []string{"throughput_per_s", "client_cpu_us"}
	if runtime.GOOS == "linux" {
		positive = append(positive, "server_cpu_us")
	}
	if c.link == farther {
		positive = append(positive, "link_cpu_us")
	}
	for _, key := range positive {
		v, _ := row[key].(float64)
		if v < 0 && key == "server_cpu_us" {
			t.Logf("%s: a process of the server ended meanwhile, and its time is not in the second sum", c.name())
		} else if v <= 0 {
			t.Errorf("%s: %s is %v, want more than 0", c.name(), key, row[key])
		}
	}
}

func TestAnInterruptEndsTheRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	o := defaults()
	o.only = regexp.MustCompile("^one-client/1ms") // fewer cells, since a parallel test needs the CPUs
	o.timing.duration = time.Hour
	began := time.Now()
	if _, err := run(ctx, o, newProgress(devNull(t))); err == nil {
		t.Error("no error")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the run went on for %v", took)
	}
}

func devNull(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
