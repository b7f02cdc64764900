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

// envApart is a variable that holds a task as JSON. It makes this program measure that task once, and print a report as JSON. So two builds can take
// turns on one server.
const envApart = "LMIPOOL_BENCH_APART"

// task is an order for another process of this program.
type task struct {
	Cell             string
	Addr             string // the address of the server, or of the link to it
	Postmaster       int
	Lanes            pool.Switch
	Seed             uint64
	Warmup, Duration time.Duration
}

// report is the answer to a task.
type report struct {
	Settings   Settings
	Throughput figure
	P99        figure // milliseconds
	Client     figure // CPU microseconds per statement
	Errors     int
	FirstError string `json:",omitempty"`
}

// ask runs t in a new process of program.
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

// serveTask measures a task, writes its report to stdout, and returns the exit code.
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
	o.link = loopback // the link belongs to the other process, which reads its CPU time
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
	err := json.Unmarshal(text, &x) // null leaves x as it is
	*f = figure(x)
	return err
}
