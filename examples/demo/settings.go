package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// setting is one line of the settings in the table and the report.
type setting struct{ Name, Value string }

// newSettings returns the settings that are known before the server has started.
func newSettings(o options, now time.Time) Settings {
	return Settings{
		Started:       now.Format(time.RFC3339),
		Requests:      o.requests,
		Clients:       o.clients,
		Concurrency:   o.concurrency,
		Hold:          o.hold.String(),
		Link:          o.link.String(),
		RetryPause:    retryPause(o.hold).String(),
		SampleEvery:   sampleEvery.String(),
		PgBouncer:     "not run",
		PgBouncerMode: pgbouncerExecMode.String(),
		Pgx:           moduleVersion("github.com/jackc/pgx/v5"),
		LambdaGo:      moduleVersion("github.com/aws/aws-lambda-go"),
		Go:            runtime.Version(),
		GOMAXPROCS:    runtime.GOMAXPROCS(0),
		CPUs:          runtime.NumCPU(),
		Platform:      runtime.GOOS + "/" + runtime.GOARCH,
		Command:       o.command,
	}
}

// list returns the settings, and the longest gap between two samples, in the order in which they are shown.
func (r *Result) list() []setting {
	s := r.Settings
	gap := 0.0
	for _, sys := range r.Systems {
		gap = max(gap, sys.SampleGapMax)
	}
	return []setting{
		{"Load", fmt.Sprintf("%d requests from %d clients, throttled ones sent again after %s ± 50 %%", s.Requests, s.Clients, spaced(s.RetryPause))},
		{"Environment", fmt.Sprintf("%d invocations at once (default-lambda: up to %d environments of 1)", s.Concurrency, s.Clients)},
		{"Handler", fmt.Sprintf("select now(), hold %s, select now()", spaced(s.Hold))},
		{"Link", fmt.Sprintf("%s round trip added in front of the database, for every system", spaced(s.Link))},
		{"PostgreSQL", fmt.Sprintf("%s, max_connections %d, on this machine", s.PostgreSQL, s.MaxConnections)},
		{"PgBouncer", strings.TrimSuffix(s.PgBouncer+"; "+s.PgBouncerOptions, "; ")},
		{"pgx", fmt.Sprintf("%s, through PgBouncer in mode %q", s.Pgx, s.PgBouncerMode)},
		{"Lambda loop", "aws-lambda-go " + s.LambdaGo + ", a real child process for each environment"},
		{"Machine", fmt.Sprintf("%d CPUs, GOMAXPROCS %d, %s, %s; clients, handlers and server share it", s.CPUs, s.GOMAXPROCS, s.Go, s.Platform)},
		{"Sampling", fmt.Sprintf("every %s; the longest gap between two samples was %.0f ms", spaced(s.SampleEvery), gap)},
		{"Started", s.Started},
		{"Again with", s.Command},
	}
}

// moduleVersion returns the version of the dependency path with which this binary was built.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return d.Version
			}
		}
	}
	return "unknown"
}
