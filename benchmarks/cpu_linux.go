package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"
)

const serverCPUKnown = true

// serverCPU is the CPU time of a PostgreSQL server so far: that of the postmaster, of its children that live (found by
// their parent, in /proc), and of those that it has waited for, which are in the postmaster's cutime and cstime. The
// living are read first, so a process that ends just then may count twice; in a window none should, as the pools keep
// their connections and autovacuum is off. The sampler's backend is one of them, for every system alike.
//
// The clock of /proc/<pid>/stat has ticks of 10 ms, which is too coarse for one client and two seconds. Where the
// kernel has schedstat, the living are read from there, in nanoseconds (of the main thread: PostgreSQL has no other).
func serverCPU(postmaster int) (total time.Duration, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == postmaster {
			continue // not a process
		}
		s, err := readStat(pid)
		if err == nil && s.parent == postmaster {
			var own time.Duration
			own, err = ownTime(pid, s)
			total += own
		}
		if err != nil && !gone(err) {
			return 0, err
		}
	}
	s, err := readStat(postmaster)
	if err != nil {
		return 0, err
	}
	own, err := ownTime(postmaster, s)
	return total + own + s.waitedFor, err
}

func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(string(text))
}

// ownTime is the time of a process itself.
func ownTime(pid int, s procStat) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return s.own, nil // a kernel without it, or the process has just ended
	}
	if err != nil {
		return 0, err
	}
	return parseSchedstat(string(text))
}

// gone tells that a process ended while it was looked at.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }
