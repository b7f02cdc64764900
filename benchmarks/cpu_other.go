//go:build !linux

package main

import (
	"errors"
	"time"
)

const serverCPUKnown = false

// serverCPU returns no time, since it needs /proc. The column is empty then.
func serverCPU(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
