package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/lmipool/lmipool/pool"
)

// lab has what the measurements need: the servers and the link.
type lab struct {
	fast    *server
	durable *server // nil if no cell needs it
	link    *link   // leads to fast; nil if no cell needs it
}

func newLab(ctx context.Context, groups []group) (*lab, error) {
	l := &lab{}
	if err := l.start(ctx, groups); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) start(ctx context.Context, groups []group) (err error) {
	if l.fast, err = startServer(ctx, quiet); err != nil {
		return err
	}
	for _, g := range groups {
		if g.durable && l.durable == nil {
			if l.durable, err = startServer(ctx, quiet, waitsForDisk); err != nil {
				return err
			}
		}
		if g.cells[0].link == farther && l.link == nil {
			if l.link, err = startLink(l.fast.pg.Addr()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lab) close() {
	if l.link != nil {
		l.link.stop()
	}
	for _, s := range []*server{l.durable, l.fast} {
		if s != nil {
			s.stop()
		}
	}
}

// order says which measurement is to be made.
type order struct {
	cell
	durable bool
	lanes   pool.Switch
	seed    uint64
	timing  timing
}

// grace is how much longer than its time a measurement may take: for connecting, tidying and the queue of an open loop.
const grace = 30 * time.Second

var errStuck = errors.New("the measurement did not end in its time")

// measure makes one measurement. Statements that fail are counted in the reading. An error is about the benchmark itself.
func (l *lab) measure(ctx context.Context, o order) (reading, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timing.warmup+o.timing.duration+grace, errStuck)
	defer cancel()
	type outcome struct {
		r   reading
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := l.do(ctx, o)
		done <- outcome{r, err}
	}()
	var out outcome
	select {
	case out = <-done:
	case <-ctx.Done():
		select { // a pool that does not return although its ctx has ended must not make the program hang
		case out = <-done:
		case <-time.After(grace):
			out.err = errStuck
		}
	}
	if out.err != nil {
		out.err = fmt.Errorf("%s: %w", o.name(), out.err)
	}
	return out.r, out.err
}

func (l *lab) do(ctx context.Context, o order) (r reading, err error) {
	s, addr, m, err := l.ready(ctx, o)
	if err != nil {
		return r, err
	}
	runtime.GC() // otherwise collecting the garbage of the measurement before would count as CPU time of this one

	watching := startSampler(ctx, s)
	d, err := o.system.open(ctx, connString(addr), o.lanes)
	var loaded load
	if err == nil {
		loaded, err = o.load(ctx, d, m)
		defer d.Close()
	}
	peak, watchErr := watching.finish() // before the pool closes its connections
	if err := errors.Join(err, watchErr); err != nil {
		return r, err
	}
	return newReading(o, loaded, peak), nil
}

// ready waits until the connections of the measurement before are closed. It returns the server that o measures, the address to reach the server, and
// the meter of the CPU time.
func (l *lab) ready(ctx context.Context, o order) (s *server, addr string, m *meter, err error) {
	s = l.fast
	if o.durable {
		s = l.durable
	}
	m, addr = &meter{postmaster: s.pg.Pid()}, s.pg.Addr()
	if o.link == farther {
		m.link, addr = l.link, l.link.addr
	}
	if o.workload.writes {
		err = s.tidy(ctx)
	}
	if err == nil {
		err = s.settled(ctx)
	}
	return s, addr, m, err
}

// load sends the cell's load to d.
func (o order) load(ctx context.Context, d db, m *meter) (load, error) {
	if o.workload.cold {
		o.timing = timing{duration: time.Second}
	}
	if o.workload.first != nil {
		if err := o.workload.first(ctx, d); err != nil {
			return load{}, err
		}
	}
	if o.loop == open {
		return openLoop(ctx, d, o.workload, o.rate, o.seed, o.timing, m)
	}
	return closedLoop(ctx, d, o.workload, o.goroutines, o.seed, o.timing, m)
}
