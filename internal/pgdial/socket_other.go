//go:build !unix

package pgdial

import (
	"syscall"
	"time"
)

func boundUnacknowledged(syscall.RawConn, time.Duration) bool { return true }

func peek(uintptr) Sight { return Nothing }
