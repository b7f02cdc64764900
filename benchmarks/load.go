package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// load has the results of one measurement's statements.
type load struct {
	took      time.Duration // how long the window was open
	used      cpu           // the CPU time used in the window
	completed int           // statements that ended in the window without an error
	latency   *hdrhistogram.Histogram
	late      *hdrhistogram.Histogram // how late the generator of an open loop was itself
	faults    *faults
}

// longest is the longest time that a histogram counts. options.validate makes sure that no measurement takes longer.
const longest = time.Hour

// newHistogram returns a histogram of nanoseconds with a precision of three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(100, longest.Nanoseconds(), 3)
}

func record(h *hdrhistogram.Histogram, took ...time.Duration) {
	for _, d := range took {
		_ = h.RecordValue(min(d, longest).Nanoseconds()) // fails only above longest
	}
}

// window is the time between the warm-up and the end, in which statements count.
type window struct{ phase atomic.Int32 }

const (
	warming = iota
	counting
	over
)

func (w *window) counting() bool { return w.phase.Load() == counting }
func (w *window) over() bool     { return w.phase.Load() == over }

// pass opens and closes the window at the right times, and returns how long it was open and the CPU time used meanwhile. The window is closed even if
// pass fails.
func (w *window) pass(ctx context.Context, t timing, m *meter) (took time.Duration, used cpu, err error) {
	defer w.phase.Store(over)
	if err := sleep(ctx, t.warmup); err != nil {
		return 0, cpu{}, err
	}
	before, err := m.read()
	if err != nil {
		return 0, cpu{}, err
	}
	began := time.Now()
	w.phase.Store(counting)
	if err := sleep(ctx, t.duration); err != nil {
		return 0, cpu{}, err
	}
	w.phase.Store(over)
	took = time.Since(began)
	after, err := m.read()
	return took, after.minus(before), err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// faults counts the statements that failed, in the warm-up too, and keeps the first error that they returned.
type faults struct {
	mu    sync.Mutex
	count int
	first error
}

func (f *faults) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.first == nil {
		f.first = err
	}
}
