package main

import (
	"context"
	"io"
	"testing"
	"time"
)

// TestRun runs the demo with a small load: real processes, a real server, every system that can run here.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a PostgreSQL")
	}
	t.Parallel()
	o := options{requests: 40, clients: 8, concurrency: 5, hold: 20 * time.Millisecond, link: time.Millisecond}
	for _, s := range systems() {
		if _, err := findPgbouncer(); s.pgbouncer && err != nil {
			t.Logf("%s left out: %v", s.name, err)
			continue
		}
		o.systems = append(o.systems, s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := run(ctx, o, progress{w: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Systems {
		if s.Error != "" || s.Completed != o.requests {
			t.Errorf("%s: %d of %d requests completed, error %q", s.Name, s.Completed, o.requests, s.Error)
		}
		places := o.concurrency
		if s.Name == "default-lambda" {
			places = o.clients
		}
		if s.InFlight < 1 || s.InFlight > places {
			t.Errorf("%s: %d in flight, want 1 to %d", s.Name, s.InFlight, places)
		}
		if s.Opened < 1 || s.PeakConnections > int(s.Opened) {
			t.Errorf("%s: peak of %d connections, %d opened", s.Name, s.PeakConnections, s.Opened)
		}
		if s.Name == "per-invocation" && s.Opened != int64(o.requests) {
			t.Errorf("%s: %d connections opened, want one for each of %d requests", s.Name, s.Opened, o.requests)
		}
	}
}
