package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// system is one way to connect the handlers to the database.
type system struct {
	name string
	how  string // one sentence for the table and the report

	onDemand  bool // it has as many environments of concurrency 1 as needed, instead of one environment with many invocations
	pgbouncer bool // the handler connects through a PgBouncer on the same machine

	serve func(ctx context.Context, connString string, hold time.Duration) error
}

// systems has all systems of the demo, in the order in which they run.
func systems() []system {
	return []system{
		{
			name:     "default-lambda",
			how:      "an environment for each invocation in flight, one connection in each, opened once and kept in a global",
			onDemand: true,
			serve:    serveGlobalConn,
		},
		{
			name:  "per-invocation",
			how:   "one environment; each invocation connects, works and closes",
			serve: serveConnPerInvocation,
		},
		{
			name:      "pgbouncer",
			how:       "one environment; each invocation connects to a PgBouncer beside the handler, works and closes, as in the original",
			pgbouncer: true,
			serve:     serveConnPerInvocation,
		},
		{
			name:  "pgxpool",
			how:   "one environment with one pgxpool, MaxConns = the environment's concurrency",
			serve: servePgxpool,
		},
		{
			name:  ours,
			how:   "one environment with one lmipool, opened without any configuration",
			serve: serveLmipool,
		},
	}
}

func systemNames() []string {
	var names []string
	for _, s := range systems() {
		names = append(names, s.name)
	}
	return names
}

// pickSystems parses the value of -systems: names with commas between them. The systems run in the demo's order.
func pickSystems(list string) ([]system, error) {
	want := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			want[name] = true
		}
	}
	var picked []system
	for _, s := range systems() {
		if want[s.name] {
			picked = append(picked, s)
			delete(want, s.name)
		}
	}
	for name := range want {
		return nil, fmt.Errorf("no system %q; want some of %s", name, strings.Join(systemNames(), ","))
	}
	if len(picked) == 0 {
		return nil, fmt.Errorf("no system named; want some of %s", strings.Join(systemNames(), ","))
	}
	return picked, nil
}
