package lmitest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

var (
	// ErrThrottled is returned at once for an invocation that no environment has room for; Lambda's callers
	// see status 429. Nothing is queued: try again later, as they do.
	ErrThrottled = errors.New("lmitest: throttled: no environment has an idle runtime")
	// ErrClosed is returned by a Function that was shut down.
	ErrClosed = errors.New("lmitest: the function is shut down")
)

const maxEventSize = 6 << 20 // bytes, Lambda's limit for a synchronous invocation

// Function is a handler under Lambda's rules: one or several environments, each a process that polls a
// Runtime API of its own. Its methods may be used concurrently.
type Function struct {
	config Config
	output sync.Mutex     // serializes the processes' output
	wg     sync.WaitGroup // one goroutine per environment

	mu           sync.Mutex
	environments []*environment // all that have not ended yet
	waiting      []*invocation  // handed to nobody yet; oldest first; see dispatchLocked
	initError    error          // the first; only Start reads it
	closing      bool
	stats        Stats
	change       chan struct{} // closed at the next change; nil while nobody waits for one
}

// Start starts the environments of managed instances and returns when each one polls for work. It fails if
// one of them does not, with an *InitError that holds the process's last output. The other kinds start no
// environment before the first request; one that fails then is that request's Reply.Error.
//
// ctx bounds the start only: the Function lives until Shutdown.
func Start(ctx context.Context, c Config) (*Function, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Function{config: c}
	if !c.managed() {
		return f, nil
	}
	f.mu.Lock()
	for slot := range c.Environments {
		f.addLocked(slot, 0)
	}
	f.mu.Unlock()

	err = f.Wait(ctx, func(s Stats) bool { return s.Ready == c.Environments || s.InitFailures+s.Exits > 0 })
	f.mu.Lock()
	if f.initError != nil {
		err = f.initError
	}
	f.mu.Unlock()
	if err != nil {
		_ = f.Shutdown(context.WithoutCancel(ctx)) // nothing is in flight; err says more
		return nil, err
	}
	return f, nil
}

// Invoke hands payload to an idle runtime and returns its answer; nil is sent as {}. What happens to the
// handler is in the Reply, including a timeout or the end of its process: an error means that the invocation
// had no reply, because it was throttled (ErrThrottled), the Function is shut down (ErrClosed) or ctx ended.
// As on Lambda, a caller that goes away does not stop the handler.
func (f *Function) Invoke(ctx context.Context, payload []byte) (*Reply, error) {
	if len(payload) > maxEventSize {
		return nil, fmt.Errorf("lmitest: the event has %d bytes: Lambda takes %d at most", len(payload), maxEventSize)
	}
	if payload == nil {
		payload = []byte("{}")
	}
	inv := newInvocation(payload)
	if err := f.submit(inv); err != nil {
		return nil, err
	}
	grace := time.NewTimer(returnGrace)
	defer grace.Stop()
	for {
		select {
		case o := <-inv.outcome:
			return o.reply, o.err
		case <-grace.C:
			f.stopHoping()
			grace.Reset(returnGrace)
		case <-ctx.Done():
			f.withdraw(inv)
			return nil, ctx.Err()
		}
	}
}

// Terminate ends environments as the platform does when it scales in or replaces an instance, requests or no
// requests: what is in flight is answered with TypeShutDown, then the process gets SIGTERM, and SIGKILL
// 600 ms later, or SIGKILL at once if no extension is registered (lambda.WithEnableSIGTERM registers one).
// Without numbers it ends all. It returns when the processes are gone. If ctx ends first they are
// killed at once, and its error is returned.
func (f *Function) Terminate(ctx context.Context, environments ...int) error {
	return f.end(ctx, func(e *environment) bool {
		return len(environments) == 0 || slices.Contains(environments, e.slot)
	})
}

// Shutdown terminates all environments, for good. When it returns, no process and no goroutine of the
// Function is left, also if ctx ended first: then the processes were killed without their 600 ms, and ctx's
// error is returned. Further calls do the same nothing.
func (f *Function) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closing = true
	for _, inv := range f.waiting {
		inv.outcome <- outcome{err: ErrClosed}
	}
	f.waiting = nil
	f.mu.Unlock()
	err := f.Terminate(ctx)
	f.wg.Wait() // bounded: every process is gone
	return err
}

// end stops the environments that match and waits for their end.
func (f *Function) end(ctx context.Context, match func(*environment) bool) error {
	f.mu.Lock()
	var ending []*environment
	for _, e := range f.environments {
		if match(e) {
			ending = append(ending, e)
			f.stopLocked(e)
		}
	}
	f.dispatchLocked()
	f.changedLocked()
	f.mu.Unlock()

	var err error
	for _, e := range ending {
		select {
		case <-e.gone:
		case <-ctx.Done():
			err = ctx.Err()
			for _, e := range ending {
				e.killNow()
			}
			<-e.gone
		}
	}
	return err
}
