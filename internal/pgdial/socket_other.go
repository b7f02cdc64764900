//go:build !unix

package pgdial

import (
	"syscall"
	"time"
)

func boundUnacknowledged(time.Duration) func(network, addr string, c syscall.RawConn) error {
	return nil
}

func peek(uintptr) (some, end bool) { return false, false }
