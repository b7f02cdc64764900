//go:build !linux

package main

import "time"

// sleepUntil returns at due or just after. Where the runtime waits in kqueue, which counts nanoseconds, its own timers
// are good.
func sleepUntil(due time.Time) { time.Sleep(time.Until(due)) }
