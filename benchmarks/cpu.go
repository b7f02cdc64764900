package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// cpu is the time that processes have computed, in user and kernel mode.
type cpu struct{ client, server, link time.Duration }

func (c cpu) minus(o cpu) cpu { return cpu{c.client - o.client, c.server - o.server, c.link - o.link} }

// meter reads the CPU time of all processes that take part in a measurement.
type meter struct {
	postmaster int   // process id
	link       *link // nil if there is none in between
}

func (m *meter) read() (c cpu, err error) {
	if c.client, err = ownCPU(); err != nil {
		return c, err
	}
	if c.server, err = serverCPU(m.postmaster); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return c, fmt.Errorf("the server's CPU time: %w", err)
	}
	if m.link != nil {
		if c.link, err = m.link.cpu(); err != nil {
			return c, fmt.Errorf("the link's CPU time: %w", err)
		}
	}
	return c, nil
}

// ownCPU returns the CPU time of all threads of this process.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
