package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/lmipool/lmipool/benchmarks/start"
	"github.com/lmipool/lmipool/lmitest"
)

// startSystem is one of the four handlers whose starts are compared.
type startSystem struct {
	Name   string `json:"name"`
	binary string // of startBinaries
	term   string // the value of TERM_OPTION
}

var startSystems = []startSystem{
	{"pgxpool, plain handler", "pgxpool", ""},
	{"lmipool, Handler", "lmipool", ""},
	{"pgxpool, plain handler, SIGTERM", "pgxpool", "on"},
	{"lmipool, Handler, SIGTERM", "lmipool", "on"},
}

// startParts are the parts of a start, in order. The handler says when each but the first and the last one was over.
var startParts = []string{"to main", "pool made", "invoked", "queried", "replied"}

// oneStart is one start: how long each of startParts took, all of them together, the handler's CPU time until main and until its query was answered, and
// how long the invocation took that came next, in milliseconds.
type oneStart struct {
	parts           [5]float64
	all             float64
	cpuMain, cpuAll float64
	second          float64 // the reply to the next invocation
}

// buildHandlers builds the two handlers of the module in the directory module as for Lambda, stripped, in dir. It returns their sizes in bytes by name.
func buildHandlers(ctx context.Context, module, dir string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for _, name := range []string{"pgxpool", "lmipool"} {
		binary := filepath.Join(dir, name)
		cmd := exec.CommandContext(ctx, "go", "build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./start/"+name)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building the handler %s: %w\n%s", name, err, out)
		}
		info, err := os.Stat(binary)
		if err != nil {
			return nil, err
		}
		sizes[name] = info.Size()
	}
	return sizes, nil
}

// startOnce starts s's handler in a new environment of a managed instance, and measures until the reply to its first invocation.
func startOnce(ctx context.Context, dir, dsn string, s startSystem) (o oneStart, err error) {
	began := time.Now()
	f, err := lmitest.Start(ctx, lmitest.Config{
		Command: []string{filepath.Join(dir, s.binary)}, Env: []string{"DATABASE_URL=" + dsn, "TERM_OPTION=" + s.term},
		Timeout: 30 * time.Second, Stdout: io.Discard, Stderr: io.Discard,
	})
	if err != nil {
		return o, err
	}
	defer func() { _ = f.Shutdown(context.WithoutCancel(ctx)) }()
	r, err := f.Invoke(ctx, []byte(`{"ID":7}`))
	ended := time.Now()
	if err != nil {
		return o, err
	}
	if r.Error != nil {
		return o, r.Error
	}
	if _, err := f.Invoke(ctx, []byte(`{"ID":8}`)); err != nil {
		return o, err
	}
	o.second = time.Since(ended).Seconds() * 1e3
	var t start.Times
	if err := json.Unmarshal(r.Payload, &t); err != nil {
		return o, err
	}
	last := began.UnixNano()
	for i, at := range []int64{t.Main, t.Opened, t.Invoked, t.Queried, ended.UnixNano()} {
		o.parts[i] = float64(at-last) / 1e6
		last = at
	}
	o.cpuMain, o.cpuAll = float64(t.CPUMain)/1e6, float64(t.CPUQueried)/1e6
	o.all = ended.Sub(began).Seconds() * 1e3
	return o, nil
}

// measureStarts runs bench start.
func measureStarts(ctx context.Context, o *startOptions, tell func(string, ...any)) (*startResult, error) {
	dir, err := os.MkdirTemp("", "bench-start")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &startResult{Command: o.command, Rounds: o.rounds, short: o.short}
	if r.Sizes, err = buildHandlers(ctx, o.module, dir); err != nil {
		return nil, err
	}
	s, err := startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	all := make([][]oneStart, len(startSystems))
	for round := range o.rounds + 1 {
		for i := range startSystems {
			if round%2 == 1 { // so that no system is always behind the same other one
				i = len(startSystems) - 1 - i
			}
			one, err := startOnce(ctx, dir, connString(s.pg.Addr()), startSystems[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", startSystems[i].Name, err)
			}
			if err := s.settled(ctx); err != nil {
				return nil, err
			}
			if round > 0 { // the first one reads the binary and the server's catalogs from the disk
				all[i] = append(all[i], one)
			}
		}
		tell("\rround %d of %d ", round, o.rounds)
	}
	tell("\n")
	r.summarize(all)
	return r, nil
}

// quarter returns the 25th percentile of values. On a busy machine it varies less than the median, since other work only ever adds time.
func quarter(values []float64) figure {
	values = slices.Sorted(slices.Values(values))
	return figure(values[(len(values)-1)/4])
}
