package main

import (
	"context"
	"time"
)

const sampleEvery = 50 * time.Millisecond

// sampler counts the backends of the measured database from the moment before a pool is made until its load has ended: the server must have room for
// the connections that a burst opens at the start, too.
type sampler struct {
	stop context.CancelFunc
	done chan struct{}
	peak int
	err  error
}

func startSampler(ctx context.Context, s *server) *sampler {
	running, stop := context.WithCancel(ctx)
	x := &sampler{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(x.done)
		for last := false; ; {
			// The query uses ctx, which does not end with the sampling: pgx closes a connection whose query is cancelled.
			n, err := s.backends(ctx)
			if err != nil {
				x.err = err
				return
			}
			x.peak = max(x.peak, n)
			if last {
				return
			}
			last = sleep(running, sampleEvery) != nil
		}
	}()
	return x
}

// finish takes a last sample, ends the sampling, and returns the greatest number of backends that was seen.
func (x *sampler) finish() (peak int, err error) {
	x.stop()
	<-x.done
	return x.peak, x.err
}
