//go:build unix && !linux

package lmitest

import (
	"os/exec"
	"syscall"
)

// isolate gives the child its own process group, so that a signal reaches all of it and Ctrl-C at the
// terminal none of it. There is no Pdeathsig here: kill -9 of the caller leaves the child running.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// awaitExit: waiting without reaping needs unsafe here, so what the process leaves behind is not killed.
func awaitExit(int) bool { return false }
