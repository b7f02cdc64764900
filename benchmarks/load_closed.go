package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// closedLoop keeps a number of statements under way. All goroutines run from the warm-up into the window without a stop, since a second start would
// disturb the window. A goroutine ends when its statement fails, since the measurement is void then.
func closedLoop(ctx context.Context, d db, w workload, goroutines int, seed uint64, t timing, m *meter) (load, error) {
	l := load{latency: newHistogram(), faults: &faults{}}
	var win window
	var mu sync.Mutex // guards l, to which each goroutine adds its results at its end
	var running sync.WaitGroup
	for i := range goroutines {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			completed, latency := 0, []time.Duration(nil) // a slice for each goroutine, since its own histogram would take megabytes
			for !win.over() {
				p := newPick(rng)
				began := time.Now()
				err := w.run(ctx, d, p)
				took := time.Since(began)
				if err != nil {
					l.faults.add(err)
					break
				}
				if !win.counting() {
					continue
				}
				completed++
				if w.slow == nil || !w.slow(p) {
					latency = append(latency, took)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			l.completed += completed
			record(l.latency, latency...)
		})
	}
	var err error
	l.took, l.used, err = win.pass(ctx, t, m)
	running.Wait()
	return l, err
}
