package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"time"

	"github.com/lmipool/lmipool/pool"
)

// envApart makes this program measure once, as it says, and print what came of it: so two builds of it can take turns on
// one server. It holds a task, stdout gets a report, both as JSON.
const envApart = "LMIPOOL_BENCH_APART"

// task is an order for a process of its own.
type task struct {
	Cell             string
	Addr             string // where the server is, or the link to it
	Postmaster       int
	Lanes            pool.Switch
	Seed             uint64
	Warmup, Duration time.Duration
}

// report is its answer.
type report struct {
	Settings   Settings
	Throughput figure
	P99        figure // milliseconds
	Client     figure // CPU microseconds per statement
	Errors     int
	FirstError string `json:",omitempty"`
}

// ask has the program do t.
func ask(ctx context.Context, program string, t task) (r report, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.Warmup+t.Duration+grace, errStuck)
	defer cancel()
	text, err := json.Marshal(t)
	if err != nil {
		return r, err
	}
	c := exec.CommandContext(ctx, program)
	c.Env = append(os.Environ(), envApart+"="+string(text))
	c.Stderr = os.Stderr
	c.WaitDelay = time.Second
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		err = fmt.Errorf("%s: %s: %w", program, t.Cell, errors.Join(context.Cause(ctx), err))
	}
	return r, err
}

// serveTask is that process. It returns its exit code.
func serveTask(text string) int {
	var t task
	err := json.Unmarshal([]byte(text), &t)
	if err == nil {
		err = t.do(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: measurement:", err)
		return 1
	}
	return 0
}

func (t task) do(ctx context.Context) error {
	c, ok := cellNamed(t.Cell)
	if !ok {
		return fmt.Errorf("this build has no cell %s", t.Cell)
	}
	o := order{cell: c, lanes: t.Lanes, seed: t.Seed, timing: timing{t.Warmup, t.Duration}}
	d, err := c.system.open(ctx, connString(t.Addr), t.Lanes)
	if err != nil {
		return err
	}
	defer d.Close()
	l, err := o.load(ctx, d, &meter{postmaster: t.Postmaster})
	if err != nil {
		return err
	}
	o.link = loopback // its process's CPU time is not ours to ask for
	x := newReading(o, l, 0)
	r := report{
		Settings:   newSettings(options{timing: o.timing, lanes: t.Lanes}, time.Now()),
		Throughput: figure(x.throughput), P99: figure(x.p99), Client: figure(x.client), Errors: x.errors,
	}
	if x.firstError != nil {
		r.FirstError = x.firstError.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func cellNamed(name string) (cell, bool) {
	for _, g := range groups() {
		for _, c := range g.cells {
			if c.name() == name {
				return c, true
			}
		}
	}
	return cell{}, false
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *figure) UnmarshalJSON(text []byte) error {
	x := math.NaN()
	err := json.Unmarshal(text, &x) // null leaves it
	*f = figure(x)
	return err
}
