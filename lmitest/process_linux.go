package lmitest

import (
	"os/exec"
	"syscall"
)

// isolate gives the child its own process group, so that a signal reaches all of it and Ctrl-C at the terminal none of it, and makes the kernel kill
// the child if the thread that started it ends.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit returns true when the process has ended, without reaping it: until it is reaped, no other process can get its id.
func awaitExit(pid int) bool {
	const (
		pPID    = 1
		wEXITED = 0x4
		wNOWAIT = 0x1000000
	)
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pPID, uintptr(pid), 0, wEXITED|wNOWAIT, 0, 0)
		if errno != syscall.EINTR {
			return errno == 0
		}
	}
}
