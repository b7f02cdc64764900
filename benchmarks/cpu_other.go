//go:build !linux

package main

import (
	"errors"
	"time"
)

const serverCPUKnown = false

// serverCPU returns an error, since only Linux has the /proc that it needs. The table's column is empty then.
func serverCPU(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
