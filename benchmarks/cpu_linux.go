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

// serverCPU returns the CPU time of a PostgreSQL server so far: of the postmaster, of its running children (found by their parent, in /proc), and of
// its ended children, which is in the postmaster's cutime and cstime. The running ones are read first, so a process that ends at that moment may
// count twice. In a window none should end, since the pools keep their connections and autovacuum is off. The sampler's backend counts, too, for
// every system alike.
//
// The clock of /proc/<pid>/stat has ticks of 10 ms, which is too coarse for one client and two seconds. If the kernel has schedstat, the running
// children are read from there, in nanoseconds (of the main thread: PostgreSQL has no other).
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

// ownTime returns the CPU time of a process without its children.
func ownTime(pid int, s procStat) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return s.own, nil // the kernel has no schedstat, or the process has just ended
	}
	if err != nil {
		return 0, err
	}
	return parseSchedstat(string(text))
}

// gone reports whether err means that a process ended while it was read.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }
