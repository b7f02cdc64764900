//go:build !linux

package main

import (
	"errors"
	"time"
)

const serverCPUKnown = false

// serverCPU needs /proc. Without it the column is empty.
func serverCPU(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
