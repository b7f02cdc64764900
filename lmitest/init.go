package lmitest

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// InitError says that an environment did not get as far as polling for work.
type InitError struct {
	// Environment is the environment's number.
	Environment int
	// Type is one of the Type constants, or what the runtime itself reported.
	Type string
	// Reason is what happened: the process could not be started, ended, said so itself or took too long.
	Reason string
	// Output is the end of what the process wrote, at most 4 KiB.
	Output string
}

// Error tells the reason and the output.
func (e *InitError) Error() string {
	if e.Output == "" {
		return fmt.Sprintf("lmitest: init of environment %d: %s (the process wrote nothing)", e.Environment, e.Reason)
	}
	return fmt.Sprintf("lmitest: init of environment %d: %s; the process wrote:\n%s", e.Environment, e.Reason, e.Output)
}

// awaitInit returns when the runtime polls or the environment is to end, or says why it will not poll.
func (e *environment) awaitInit(p *process) *InitError {
	timeout := e.f.config.InitTimeout
	t := time.NewTimer(timeout)
	defer t.Stop()
	var err *InitError
	select {
	case <-e.polled:
	case <-e.stop:
	case <-e.failed:
	case <-p.exited:
		err = &InitError{Type: TypeExit, Reason: p.state.String() + " before the first poll for work"}
	case <-t.C:
		err = &InitError{Type: TypeTimedOut, Reason: fmt.Sprintf("no poll for work within %v", timeout)}
	}
	// Several may have happened: what the runtime did counts for more than its end.
	e.f.mu.Lock()
	defer e.f.mu.Unlock()
	switch {
	case e.state != starting:
		return nil
	case e.initReport != nil:
		return &InitError{Type: e.initReport.Type, Reason: e.initReport.Message}
	}
	return err
}

// initError takes a runtime's word that its init failed. (aws-lambda-go never says so, it just exits.)
func (e *environment) initError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBufferedReply))
	if err != nil {
		refuseTruncated.render(w)
		return
	}
	e.f.mu.Lock()
	open := e.state == starting && e.initReport == nil
	if open {
		e.initReport = functionError(body, r.Header.Get(headerErrorType))
		close(e.failed)
	}
	e.f.mu.Unlock()
	if !open {
		forbid(w, "InvalidStateTransition", "init is over")
		return
	}
	accept(w)
}

// initFailed records why an environment never took work. The caller ends it. If the environment was started
// for an invocation, the oldest that waits gets the error for an answer.
func (f *Function) initFailed(e *environment, err *InitError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.state == stopping {
		return
	}
	err.Environment = e.slot
	if f.initError == nil {
		f.initError = err
	}
	f.stats.InitFailures++
	e.initFailed = true
	f.stopLocked(e)
	if !f.config.managed() && len(f.waiting) > 0 {
		inv := f.waiting[0]
		f.waiting = f.waiting[1:]
		r := platformReply(inv.id, err.Type, "%s", err.Reason)
		r.RequestID, r.Environment = inv.id, e.slot
		inv.outcome <- outcome{reply: r} // has room
	}
	f.dispatchLocked()
	f.changedLocked()
}
