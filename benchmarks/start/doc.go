// Package start measures, inside a handler's process, when each part of a cold start was over. The two handlers beside it use it, and bench start prints
// the differences.
package start

import (
	"syscall"
	"time"
)

// Times says when each part of a start was over, in nanoseconds since 1970. It is the handler's reply.
type Times struct {
	Main    int64 `json:"main"`    // main began: the runtime and all packages are initialized
	Opened  int64 `json:"opened"`  // the pool was made
	Invoked int64 `json:"invoked"` // the handler was called
	Queried int64 `json:"queried"` // the first query was answered

	CPUMain    int64 `json:"cpu_main"`    // the process's CPU time until Main, in nanoseconds
	CPUQueried int64 `json:"cpu_queried"` // the same until Queried
}

// CPU returns the CPU time that this process has used, in nanoseconds.
func CPU() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// Now returns the time as Times has it.
func Now() int64 { return time.Now().UnixNano() }

// SQL is the query of both handlers.
const SQL = "select name from t where id = $1"
