package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// procStat has the fields of /proc/<pid>/stat that are used here.
type procStat struct {
	parent    int
	own       time.Duration // utime + stime
	waitedFor time.Duration // cutime + cstime: of children that have ended and were waited for, and of those children's children
}

// tick is the unit of times in /proc/<pid>/stat: USER_HZ is 100 on everything that Go and PostgreSQL both run on.
const tick = time.Second / 100

// parseStat reads a line of /proc/<pid>/stat. See proc_pid_stat(5): ppid is its 4th field, utime, stime, cutime and
// cstime are the 14th to 17th.
func parseStat(line string) (s procStat, err error) {
	// The 2nd is the program's name, in parentheses, and may hold spaces and parentheses: "(postgres: bench [local])".
	end := strings.LastIndexByte(line, ')')
	fields := strings.Fields(line[end+1:])
	const third = 3 // fields[0] is the 3rd field
	if end < 0 || len(fields) <= 17-third {
		return s, fmt.Errorf("not a line of /proc/<pid>/stat: %q", line)
	}
	n := func(field int) (v int) {
		if err == nil {
			v, err = strconv.Atoi(fields[field-third])
		}
		return v
	}
	s.parent = n(4)
	s.own = time.Duration(n(14)+n(15)) * tick
	s.waitedFor = time.Duration(n(16)+n(17)) * tick
	return s, err
}

// parseSchedstat reads /proc/<pid>/schedstat: nanoseconds on a CPU, nanoseconds waiting for one, times on one.
func parseSchedstat(line string) (time.Duration, error) {
	first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	return time.Duration(ns), err
}
