package lmitest

import (
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/lmipool/lmipool/internal/child"
)

const (
	termGrace  = 600 * time.Millisecond // SIGTERM to SIGKILL, as in AWS's emulator
	firstPause = 100 * time.Millisecond // the pause before the second replacement in a row
	maxPause   = 5 * time.Second
	longLife   = 10 * time.Second // after an environment that lasted so long, the next pause is short again
)

// addLocked adds an environment and starts its goroutine.
func (f *Function) addLocked(slot, early int) {
	e := &environment{
		f:          f,
		slot:       slot,
		early:      early,
		stop:       make(chan struct{}),
		polled:     make(chan struct{}),
		failed:     make(chan struct{}),
		over:       make(chan struct{}),
		gone:       make(chan struct{}),
		kill:       make(chan struct{}),
		inFlight:   map[string]*invocation{},
		extensions: map[string]bool{},
	}
	f.environments = append(f.environments, e)
	f.wg.Go(e.run)
}

// run starts an environment, waits until it ends, and removes it.
func (e *environment) run() {
	f := e.f
	if !e.pause() {
		close(e.over)
		f.remove(e)
		return
	}
	srv, err := e.listen()
	if err != nil {
		f.initFailed(e, &InitError{Type: TypeInit, Reason: err.Error()})
		close(e.over)
		f.remove(e)
		return
	}
	p, err := e.boot(srv.address)
	if err != nil {
		f.initFailed(e, &InitError{Type: TypeInit, Reason: err.Error()})
	} else {
		if err := e.awaitInit(p); err != nil {
			err.Output = p.output.String()
			f.initFailed(e, err)
			e.killNow()
		}
		select {
		case <-p.exited:
		case <-e.stop:
			e.endProcess(p)
		case <-e.kill:
			e.endProcess(p)
		}
		f.exited(e, p)
	}
	close(e.over)
	srv.close()
	f.remove(e)
}

// pause waits before the start of a process whose predecessors ended early. It returns false if the environment is to end.
func (e *environment) pause() bool {
	if e.early > 1 {
		t := time.NewTimer(min(maxPause, firstPause<<min(e.early-2, 6)))
		defer t.Stop()
		select {
		case <-t.C:
		case <-e.stop:
		}
	}
	select {
	case <-e.stop:
		return false
	default:
		return true
	}
}

// boot starts the process.
func (e *environment) boot(runtimeAPI string) (*process, error) {
	c := &e.f.config
	logStream := fmt.Sprintf("%s/[%s]%s",
		time.Now().UTC().Format("2006/01/02"), c.FunctionVersion, strings.ReplaceAll(uuid(), "-", ""))
	output := &child.Tail{}
	cmd := exec.Command(c.Command[0], c.Command[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = c.variables(runtimeAPI, logStream)
	cmd.Stdout = serialWriter{&e.f.output, tee{c.Stdout, output}}
	cmd.Stderr = serialWriter{&e.f.output, tee{c.Stderr, output}}
	// started is set before the start, since the process may poll before this goroutine runs again.
	e.f.mu.Lock()
	e.started = time.Now()
	e.f.stats.Starts++
	e.f.mu.Unlock()
	p, err := startProcess(cmd, output)
	if err != nil {
		e.f.mu.Lock()
		e.f.stats.Starts--
		e.f.mu.Unlock()
		return nil, err
	}
	return p, nil
}

// endProcess ends the process as the platform does: it sends SIGTERM only if an extension is registered.
func (e *environment) endProcess(p *process) {
	e.f.mu.Lock()
	polite := len(e.extensions) > 0
	e.f.mu.Unlock()
	if polite {
		p.terminate()
		t := time.NewTimer(termGrace)
		defer t.Stop()
		select {
		case <-p.exited:
			return
		case <-t.C:
		case <-e.kill:
		}
	}
	p.kill()
	<-p.exited
}

// exited records the end of a process, and answers its invocations in flight.
func (f *Function) exited(e *environment, p *process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	exit := Exit{Environment: e.slot, PID: p.pid(), Code: p.state.ExitCode(), State: p.state.String()}
	switch {
	case e.initFailed: // initFailed has already counted this end
	case e.state == stopping:
		exit.After = time.Since(e.stopped)
		f.stats.Stops++
	default:
		f.stats.Exits++
		if f.initError == nil {
			f.initError = &InitError{Environment: e.slot, Type: TypeExit, Reason: exit.State + " during the start", Output: p.output.String()}
		}
		reason := "Runtime exited without providing a reason"
		if exit.Code != 0 {
			reason = "Runtime exited with error: " + exit.State
		}
		for _, inv := range e.inFlight {
			f.finishLocked(inv, platformReply(inv.id, TypeExit, "%s", reason))
		}
		f.stopLocked(e)
	}
	f.stats.LastExit = exit
	f.dispatchLocked()
	f.changedLocked()
}

// remove removes an environment that has ended, and adds its successor if it is to have one.
func (f *Function) remove(e *environment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, other := range f.environments {
		if other == e {
			f.environments = append(f.environments[:i:i], f.environments[i+1:]...)
			break
		}
	}
	if f.config.managed() && !f.closing && !f.config.NoReplace {
		early := e.early + 1
		if !e.started.IsZero() && time.Since(e.started) >= longLife {
			early = 0
		}
		f.addLocked(e.slot, early)
	}
	close(e.gone)
	f.dispatchLocked()
	f.changedLocked()
}
