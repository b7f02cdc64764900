// Package child starts servers beside us: programs that must not run as root, and
// that end when this process does, however it ends.
package child

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a child that dies with us.
type Process struct {
	Cmd    *exec.Cmd
	exited chan struct{}
	err    error // of Cmd.Wait; valid once exited is closed
}

// Command prepares a program. It runs as nobody if we are root, in a process group of
// its own (out of the reach of the terminal's ^C), in a directory that it can read,
// which ours need not be, and in a small environment: a PGDATA or LC_MESSAGES of ours
// would change what it does or says. Where the kernel can (Linux), it gets signal when
// we are gone, by kill -9 too.
func Command(path, dir string, log io.Writer, signal syscall.Signal, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(signal)
	cmd.WaitDelay = time.Second // a grandchild may keep the log open a little longer
	return cmd
}

// Start starts cmd.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go p.hold(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// hold keeps the OS thread that started the process until the process has ended: the
// kernel sends the parent-death signal when that *thread* ends, and on a shared thread
// any goroutine may end it, by returning locked to it.
func (p *Process) hold(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.Cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.Cmd.Wait()
	close(p.exited)
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err is what Cmd.Wait returned. It waits for the end.
func (p *Process) Err() error {
	<-p.exited
	return p.err
}

// End sends signal, waits for the process to end, and after 10 seconds insists: an
// immediate shutdown of PostgreSQL itself kills what has not ended after 5.
func (p *Process) End(signal syscall.Signal) {
	// Signal, unlike kill(2) with a pid, cannot hit another process after ours was waited for.
	_ = p.Cmd.Process.Signal(signal)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.Cmd.Process.Kill()
		<-p.exited
	}
}
