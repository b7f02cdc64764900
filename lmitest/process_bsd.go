//go:build unix && !linux

package lmitest

import (
	"os/exec"
	"syscall"
)

// isolate gives the child its own process group, so that a signal reaches all of it and Ctrl-C at the terminal none of it. These systems have no
// Pdeathsig: if the caller is killed with SIGKILL, the child runs on.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// awaitExit returns false at once, since waiting without reaping would need package unsafe here. So processes that the child leaves behind are not
// killed.
func awaitExit(int) bool { return false }
