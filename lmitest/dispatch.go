package lmitest

import (
	"slices"
	"time"
)

// returnGrace is how long an invocation waits for a runtime that has answered and is about to poll again.
//
// Lambda throttles when no runtime is idle, and a runtime is idle only while it polls. Without this grace a caller that sends its next event right
// after an answer would often be throttled: the answer reaches the caller some 100 µs before the runtime's next poll reaches this emulator. A request
// to AWS takes longer than that. So one invocation may wait for each poll that is expected; the rest are throttled at once.
const returnGrace = time.Second

// submit queues an invocation and dispatches. If no runtime is idle and no poll is expected for the invocation, its outcome is ErrThrottled when
// submit returns.
func (f *Function) submit(inv *invocation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return ErrClosed
	}
	f.waiting = append(f.waiting, inv)
	f.dispatchLocked()
	return nil
}

// withdraw takes an invocation that no runtime got out of the queue.
func (f *Function) withdraw(inv *invocation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.waiting, inv); i >= 0 {
		f.waiting = slices.Delete(f.waiting, i, i+1)
	}
}

// stopHoping stops expecting polls that did not come within returnGrace.
func (f *Function) stopHoping() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) == 0 {
		return
	}
	for _, e := range f.environments {
		if time.Since(e.answered) >= returnGrace {
			e.returning = 0
		}
	}
	f.dispatchLocked()
}

// dispatchLocked hands waiting invocations to idle runtimes, oldest first. If the kind is not managed instances, it starts environments for the rest,
// up to Config.Environments. It throttles invocations for which no poll is expected, newest first.
func (f *Function) dispatchLocked() {
	for len(f.waiting) > 0 {
		e := f.freestLocked()
		if e == nil {
			break
		}
		f.handOverLocked(f.waiting[0], e)
		f.waiting = f.waiting[1:]
	}
	expected := 0
	for _, e := range f.environments {
		expected += e.expectedLocked()
	}
	for len(f.waiting) > expected && !f.config.managed() && len(f.environments) < f.config.Environments {
		f.addLocked(f.freeSlotLocked(), 0)
		expected++
	}
	for len(f.waiting) > expected {
		last := len(f.waiting) - 1
		f.waiting[last].outcome <- outcome{err: ErrThrottled}
		f.waiting = f.waiting[:last]
		f.stats.Throttled++
		f.changedLocked()
	}
}

// expectedLocked returns the number of polls of e that invocations may wait for. No invocation waits for a managed environment's first poll. An
// environment of another kind is started for an invocation, which waits for that poll. If the environment is ending, the invocation waits for its
// replacement, since there are never more processes than Config.Environments.
func (e *environment) expectedLocked() int {
	if e.state == up {
		return e.returning
	}
	if e.f.config.managed() || e.f.closing {
		return 0
	}
	return 1
}

// freeSlotLocked returns the lowest environment number that is not in use.
func (f *Function) freeSlotLocked() int {
	slot := 0
	for slices.ContainsFunc(f.environments, func(e *environment) bool { return e.slot == slot }) {
		slot++
	}
	return slot
}

// freestLocked returns the environment with the most idle runtimes, or nil if no runtime is idle.
func (f *Function) freestLocked() *environment {
	var freest *environment
	for _, e := range f.environments {
		if len(e.idle) > 0 && (freest == nil || len(e.idle) > len(freest.idle)) {
			freest = e
		}
	}
	return freest
}

func (f *Function) handOverLocked(inv *invocation, e *environment) {
	last := len(e.idle) - 1
	p := e.idle[last]
	e.idle = e.idle[:last]

	inv.environment = e
	inv.handedOver = time.Now()
	inv.deadline = time.AfterFunc(f.config.Timeout, func() { f.timeOut(inv) })
	if e.invocations == 0 {
		inv.coldStart = e.initDuration
	}
	e.invocations++
	e.inFlight[inv.id] = inv
	p.invocation <- inv // does not block, since a poller gets only one invocation

	f.stats.Invocations++
	f.stats.PeakInFlight = max(f.stats.PeakInFlight, f.statsLocked().InFlight)
	f.changedLocked()
}

// finishLocked gives the caller its reply. It returns false if the caller already has a reply.
func (f *Function) finishLocked(inv *invocation, r *Reply) bool {
	e := inv.environment
	if e.inFlight[inv.id] != inv {
		return false
	}
	delete(e.inFlight, inv.id)
	inv.deadline.Stop()
	r.RequestID = inv.id
	r.Environment = e.slot
	r.Duration = time.Since(inv.handedOver)
	r.InitDuration = inv.coldStart
	inv.outcome <- outcome{reply: r} // does not block, since the channel has room
	f.changedLocked()
	return true
}

// finish gives the caller the platform's reply, unless the caller already has a reply.
func (f *Function) finish(inv *invocation, r *Reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finishLocked(inv, r)
}

// timeOut replies to the caller of a handler that has not answered by its deadline. On managed instances the handler runs on, its runtime stays busy,
// and its own answer is refused when it comes. On other kinds the environment is killed.
func (f *Function) timeOut(inv *invocation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := platformReply(inv.id, TypeTimedOut, "Task timed out after %.2f seconds", f.config.Timeout.Seconds())
	if !f.finishLocked(inv, r) {
		return
	}
	f.stats.Timeouts++
	e := inv.environment
	e.timedOut.add(inv.id)
	if !f.config.managed() {
		f.stopLocked(e)
		e.killNow()
	}
}

// stopLocked tells an environment to end. It gets no more invocations, and those in flight are answered with TypeShutDown.
func (f *Function) stopLocked(e *environment) {
	if e.state == stopping {
		return
	}
	e.state = stopping
	e.stopped = time.Now()
	e.idle, e.returning = nil, 0
	for _, inv := range e.inFlight {
		f.finishLocked(inv, platformReply(inv.id, TypeShutDown, "the execution environment was shut down"))
	}
	close(e.stop)
}

// killNow makes the process get SIGKILL before termGrace is over.
func (e *environment) killNow() {
	e.killOne.Do(func() { close(e.kill) })
}
