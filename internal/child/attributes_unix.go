//go:build unix && !linux

package child

import "syscall"

// These systems have no parent-death signal: after kill -9 of a test process its
// PostgreSQL lives on until a later pgtest.Start sweeps its directory, which PostgreSQL
// notices within a minute.
func attributes(syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: Unprivileged(), Setpgid: true}
}
