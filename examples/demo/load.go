package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// errThrottled is what an invoker returns when every environment is full.
var errThrottled = errors.New("throttled")

// invoker sends one request and waits for its reply. It must be safe for concurrent use.
type invoker func(ctx context.Context) error

// load is a closed loop: each client sends one request at a time, until all requests are done.
type load struct {
	requests int
	clients  int
	pause    time.Duration // mean pause before a throttled request is sent again
	invoke   invoker
	progress func(done, requests int) // called from many goroutines; may be nil
}

// outcome is what happened to the requests of a load.
type outcome struct {
	start             time.Time
	wall              time.Duration
	latency           []time.Duration // how long the accepted attempt of each completed request took
	withRetries       []time.Duration // how long the same requests took from their first attempt on
	throttled         int             // requests that were throttled at least once
	throttleResponses int
	failed            int
	firstFailure      error
}

// run sends the requests. It ends early when ctx ends; requests that were not sent count neither as done nor as failed.
func (l *load) run(ctx context.Context) outcome {
	var (
		next, done atomic.Int64
		wg         sync.WaitGroup
		parts      = make([]outcome, l.clients)
		start      = time.Now()
	)
	for c := range parts {
		wg.Go(func() {
			for next.Add(1) <= int64(l.requests) && ctx.Err() == nil {
				l.request(ctx, &parts[c])
				if n := done.Add(1); l.progress != nil {
					l.progress(int(n), l.requests)
				}
			}
		})
	}
	wg.Wait()

	all := outcome{start: start, wall: time.Since(start)}
	for _, p := range parts {
		all.add(p)
	}
	return all
}

// request sends one request, again and again while it is throttled.
func (l *load) request(ctx context.Context, o *outcome) {
	first := time.Now()
	for attempt := 1; ; attempt++ {
		began := time.Now()
		err := l.invoke(ctx)
		ended := time.Now()
		switch {
		case errors.Is(err, errThrottled):
			if attempt == 1 {
				o.throttled++
			}
			o.throttleResponses++
			if !sleep(ctx, jitter(l.pause)) {
				return
			}
			continue
		case err != nil && ctx.Err() != nil:
			return
		case err != nil:
			o.failed++
			if o.firstFailure == nil {
				o.firstFailure = err
			}
		default:
			o.latency = append(o.latency, ended.Sub(began))
			o.withRetries = append(o.withRetries, ended.Sub(first))
		}
		return
	}
}

func (o *outcome) add(p outcome) {
	o.latency = append(o.latency, p.latency...)
	o.withRetries = append(o.withRetries, p.withRetries...)
	o.throttled += p.throttled
	o.throttleResponses += p.throttleResponses
	o.failed += p.failed
	if o.firstFailure == nil {
		o.firstFailure = p.firstFailure
	}
}

// retryPause is short compared with the hold, so that a free environment soon gets a request, and long enough that throttled clients do not use the
// CPU that the systems need.
func retryPause(hold time.Duration) time.Duration {
	return min(max(hold/10, 5*time.Millisecond), time.Second)
}

// jitter spreads d over d/2 to 3d/2, so that throttled clients do not come back in step.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d+1)
}

// sleep sleeps for d. It returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
