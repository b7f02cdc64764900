package lmitest

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/child"
)

// process is a handler process. It and all processes that it starts share a process group.
type process struct {
	cmd    *exec.Cmd
	output *child.Tail
	exited chan struct{} // closed when the process is reaped and its output is read; state is set before that

	state *os.ProcessState

	mu   sync.Mutex
	over bool // the process was or is being reaped; it is not signalled any more, since another process may have its id
}

// startProcess starts cmd and a goroutine that owns it until its end.
//
// On Linux the kernel kills the child when its parent dies, and it counts the *thread* that started the
// child as the parent. So the thread is locked, and kept until the child has ended.
func startProcess(cmd *exec.Cmd, output *child.Tail) (*process, error) {
	p := &process{cmd: cmd, output: output, exited: make(chan struct{})}
	isolate(cmd)
	cmd.WaitDelay = time.Second // a process that outlived this one may hold the output open
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.reap()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) reap() {
	if awaitExit(p.cmd.Process.Pid) {
		p.mu.Lock()
		p.over = true
		killGroup(p.cmd) // kills processes that this one left behind; the zombie still reserves the group's id
		p.mu.Unlock()
	}
	_ = p.cmd.Wait() // a non-zero exit is in state
	p.mu.Lock()
	p.over = true // on systems other than Linux a signal may be sent between Wait and this line: a gap of microseconds
	p.mu.Unlock()
	p.state = p.cmd.ProcessState
	close(p.exited)
}

// terminate sends SIGTERM.
func (p *process) terminate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		terminateGroup(p.cmd)
	}
}

// kill sends SIGKILL.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		killGroup(p.cmd)
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// serialWriter lets several processes write to one writer.
type serialWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (s serialWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// tee writes to the user's writer and the tail.
type tee struct {
	w io.Writer
	t *child.Tail
}

func (t tee) Write(b []byte) (int, error) {
	_, _ = t.t.Write(b) // never fails
	return t.w.Write(b)
}
