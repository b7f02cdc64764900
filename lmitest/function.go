package lmitest

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const maxEventSize = 6 << 20 // bytes, Lambda's limit for a synchronous invocation

// Start starts the environments of managed instances and returns when each one polls for work. If an environment never polls, the error is an
// *InitError with the process's last output. Environments of the other kinds start with the first request; if such a start fails, the request's
// Reply.Error says so.
//
// The end of ctx stops only the start: the Function runs until Shutdown.
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
		_ = f.Shutdown(context.WithoutCancel(ctx)) // its error is dropped: nothing is in flight, and err is the reason
		return nil, err
	}
	return f, nil
}

// Invoke hands payload to an idle runtime and returns the answer. A nil payload is sent as {}. Reply.Error has an error of the handler, a timeout, or
// the end of the process. Invoke returns an error only if the invocation had no reply, because it was throttled (ErrThrottled), the Function is shut
// down (ErrClosed) or ctx ended. As on Lambda, the end of ctx does not stop the handler.
func (f *Function) Invoke(ctx context.Context, payload []byte) (*Reply, error) {
	f.mustBe(ctx)
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

// Terminate ends environments, by their numbers, as the platform does when it scales in or replaces an instance, even if they have requests. The
// requests are answered with TypeShutDown. Then the process gets SIGTERM, and SIGKILL 600 ms later. If no extension is registered
// (lambda.WithEnableSIGTERM registers one), the process gets SIGKILL at once. Without numbers Terminate ends all environments. It returns when the
// processes have ended. If ctx ends first, the processes are killed at once, and Terminate returns ctx's error.
func (f *Function) Terminate(ctx context.Context, environments ...int) error {
	f.mustBe(ctx)
	return f.end(ctx, func(e *environment) bool {
		return len(environments) == 0 || slices.Contains(environments, e.slot)
	})
}

// Shutdown terminates all environments and starts no new ones. When it returns, no process and no goroutine of the Function is left. If ctx ends
// first, the processes are killed without their 600 ms, and Shutdown returns ctx's error. A second call does nothing.
func (f *Function) Shutdown(ctx context.Context) error {
	f.mustBe(ctx)
	f.mu.Lock()
	f.closing = true
	for _, inv := range f.waiting {
		inv.outcome <- outcome{err: ErrClosed}
	}
	f.waiting = nil
	f.mu.Unlock()
	err := f.Terminate(ctx)
	f.wg.Wait() // does not take long, since every process is gone
	return err
}

// end stops the environments for which match returns true, and waits for their end.
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
