package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lmipool/lmipool/lmitest"
)

const (
	firstPause   = 5 * time.Millisecond // before a throttled request is tried again; doubles
	maxPause     = 200 * time.Millisecond
	throttledFor = 30 * time.Second // how long a request may be throttled before it fails
)

// load sends the requests from all clients and collects the outcomes. It ends early if ctx ends.
func load(ctx context.Context, f *lmitest.Function, o *options, p *progress) result {
	var (
		mu      sync.Mutex
		r       = result{errors: map[string]int{}}
		clients sync.WaitGroup
		tickets = make(chan struct{}, o.requests) // one per request
	)
	for range o.requests {
		tickets <- struct{}{}
	}
	close(tickets)
	for range min(o.clients, o.requests) {
		clients.Go(func() {
			for range tickets {
				began := time.Now()
				reply, err := insist(ctx, f, o.event)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				r.add(reply, err, time.Since(began))
				mu.Unlock()
				p.step()
			}
		})
	}
	clients.Wait()
	p.end()
	return r
}

// insist invokes, and tries again while it is throttled.
func insist(ctx context.Context, f *lmitest.Function, event []byte) (*lmitest.Reply, error) {
	began := time.Now()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		reply, err := f.Invoke(ctx, event)
		if !errors.Is(err, lmitest.ErrThrottled) || time.Since(began) > throttledFor {
			return reply, err
		}
		t := time.NewTimer(pause/2 + rand.N(pause/2)) // at random, since otherwise all clients would try again at the same time
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}
