//go:build !linux

package pool

import "syscall"

func boundUnacknowledged(string, string, syscall.RawConn) error { return nil }
