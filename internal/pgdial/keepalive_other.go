//go:build !linux

package pgdial

import (
	"syscall"
	"time"
)

func boundUnacknowledged(time.Duration) func(network, addr string, c syscall.RawConn) error {
	return nil
}
