package lmitest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// InitError says why an environment never polled for work.
type InitError struct {
	// Environment is the environment's number.
	Environment int
	// Type is one of the Type constants, or the type that the runtime reported.
	Type string
	// Reason says what happened: the process could not be started, ended, reported that its init failed, or took too long.
	Reason string
	// Output is the end of what the process wrote, at most 4 KiB.
	Output string
}

// Error returns the reason and the output as text.
func (e *InitError) Error() string {
	if e.Output == "" {
		return fmt.Sprintf("lmitest: init of environment %d: %s (the process wrote nothing)", e.Environment, e.Reason)
	}
	return fmt.Sprintf("lmitest: init of environment %d: %s; the process wrote:\n%s", e.Environment, e.Reason, strings.TrimRight(e.Output, "\n"))
}

// awaitInit returns nil when the runtime polls or the environment is to end, and an error if the runtime will not poll.
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
	// Several of these may have happened. A poll or report of the runtime comes before the process's end.
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

// initError handles a runtime's report that its init failed. (aws-lambda-go sends none, it exits.)
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

// initFailed records why an environment never polled. The caller must end the process. If the environment was started for an invocation, the
// invocation that has waited longest gets the error as its reply.
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
		inv.outcome <- outcome{reply: r} // does not block, since the channel has room
	}
	f.dispatchLocked()
	f.changedLocked()
}
