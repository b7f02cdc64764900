//go:build !linux

package netfault

import "time"

// nap sleeps for short times. Where the runtime waits in kqueue, which counts nanoseconds, its own timers are good.
func nap(d time.Duration) { time.Sleep(d) }
