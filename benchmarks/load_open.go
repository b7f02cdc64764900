package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// openLoop sends each statement when it is due, in a goroutine of its own, and does not wait for earlier ones. So a system that falls behind gets a queue,
// and not less work. Latency counts from the moment when a statement was due. It has all statements that were due in the window, even if they end
// after it. Throughput and CPU time are those of the window.
func openLoop(ctx context.Context, d db, w workload, perSecond float64, seed uint64, t timing, m *meter) (load, error) {
	l := load{latency: newHistogram(), late: newHistogram(), faults: &faults{}}
	arrivals := schedule(seed, perSecond, t.warmup+t.duration)
	took := make([]time.Duration, len(arrivals)) // 0 if the statement failed or has not ended
	var win window
	var completed atomic.Int64
	var running sync.WaitGroup

	began := time.Now()
	running.Go(func() {
		for i, a := range arrivals {
			due := began.Add(a.due)
			sleepUntil(due)
			if ctx.Err() != nil {
				return
			}
			if a.due >= t.warmup {
				record(l.late, time.Since(due))
			}
			running.Go(func() {
				if err := w.run(ctx, d, a.pick); err != nil {
					l.faults.add(err)
					return
				}
				took[i] = time.Since(due)
				if win.counting() {
					completed.Add(1)
				}
			})
		}
	})
	var err error
	l.took, l.used, err = win.pass(ctx, t, m)
	running.Wait()
	l.completed = int(completed.Load())
	for i, a := range arrivals {
		if a.due >= t.warmup && took[i] > 0 && (w.slow == nil || !w.slow(a.pick)) {
			record(l.latency, took[i])
		}
	}
	return l, err
}
