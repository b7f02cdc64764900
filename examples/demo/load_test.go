package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoadSendsThrottledRequestsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const places = 3
		var busy atomic.Int64
		l := load{requests: 50, clients: 5, pause: 10 * time.Millisecond, invoke: func(context.Context) error {
			if busy.Add(1) > places {
				busy.Add(-1)
				return errThrottled
			}
			time.Sleep(100 * time.Millisecond)
			busy.Add(-1)
			return nil
		}}
		o := l.run(t.Context())
		if len(o.latency) != 50 || o.failed != 0 {
			t.Errorf("%d completed, %d failed; want 50, 0", len(o.latency), o.failed)
		}
		if o.throttled == 0 || o.throttled > 50 || o.throttleResponses < o.throttled {
			t.Errorf("%d requests throttled in %d responses; want 1 to 50 requests and no fewer responses", o.throttled, o.throttleResponses)
		}
		if got := percentile(o.latency, 99); got != 100 {
			t.Errorf("p99 of the accepted attempts %v ms, want 100: pauses do not belong to it", got)
		}
		if got := percentile(o.withRetries, 99); got <= 100 {
			t.Errorf("p99 with retries %v ms, want more than 100", got)
		}
	})
}

func TestLoadCountsFailuresAndGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		var n, progress atomic.Int64
		l := load{
			requests: 20, clients: 4,
			invoke: func(context.Context) error {
				if n.Add(1)%5 == 0 {
					return boom
				}
				return nil
			},
			progress: func(int, int) { progress.Add(1) },
		}
		o := l.run(t.Context())
		if len(o.latency) != 16 || o.failed != 4 || !errors.Is(o.firstFailure, boom) {
			t.Errorf("%d completed, %d failed with %v; want 16, 4, boom", len(o.latency), o.failed, o.firstFailure)
		}
		if progress.Load() != 20 {
			t.Errorf("progress told %d times, want 20", progress.Load())
		}
	})
}

func TestLoadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		l := load{requests: 1000, clients: 2, pause: time.Hour, invoke: func(ctx context.Context) error {
			if !sleep(ctx, 100*time.Millisecond) {
				return ctx.Err()
			}
			return nil
		}}
		o := l.run(ctx)
		if len(o.latency) != 4 || o.failed != 0 || o.wall != 250*time.Millisecond {
			t.Errorf("%d completed, %d failed after %v; want 4, 0, 250ms", len(o.latency), o.failed, o.wall)
		}
	})
}
