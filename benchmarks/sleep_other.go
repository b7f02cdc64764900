//go:build !linux

package main

import "time"

// sleepUntil returns at due or just after. On systems with kqueue, which counts nanoseconds, Go's own timers are exact enough.
func sleepUntil(due time.Time) { time.Sleep(time.Until(due)) }
