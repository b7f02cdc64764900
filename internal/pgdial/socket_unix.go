//go:build unix

package pgdial

import (
	"runtime"
	"syscall"
	"time"
)

// Linux's names for options of TCP. Package syscall does not have the first, and has the second on Linux only.
const (
	tcpUserTimeout = 18
	tcpKeepIdle    = 4
)

// boundUnacknowledged bounds, on Linux, how long data that was sent on c may stay unacknowledged. It returns false, and does nothing, if c has not
// the times that Go gives a socket: keepalive after 15 s, and no such bound.
func boundUnacknowledged(c syscall.RawConn, bound time.Duration) (done bool) {
	if runtime.GOOS != "linux" {
		return true
	}
	_ = c.Control(func(fd uintptr) {
		idle, _ := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpKeepIdle)
		own, _ := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
		if done = idle == 15 && own == 0; done {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(bound.Milliseconds()))
		}
	})
	return done
}

// peek returns what can be read from fd, and reads nothing.
func peek(fd uintptr) Sight {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR:
		return Nothing
	case err != nil || n == 0:
		return End
	}
	return Something
}
