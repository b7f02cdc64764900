package main

import (
	"syscall"
	"time"
)

// sleepUntil returns at due or just after. time.Sleep is too coarse below two milliseconds: an idle Go runtime waits in whole milliseconds, so
// arrivals 0.4 ms apart would come in bunches, which is another load.
func sleepUntil(due time.Time) {
	const fine = 2 * time.Millisecond
	time.Sleep(time.Until(due) - fine)
	const late = 60 * time.Microsecond // what the kernel adds to every sleep, mostly its timer slack
	for rest := time.Until(due); rest > late; rest = time.Until(due) {
		ts := syscall.NsecToTimespec(int64(rest - late))
		_ = syscall.Nanosleep(&ts, nil) // if a signal ends it early, the loop sleeps again
	}
}
