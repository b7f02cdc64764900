//go:build unix

package pgdial

import (
	"runtime"
	"syscall"
	"time"
)

// These are TCP options with Linux's numbers. Package syscall does not have the first one, and has the second one only on Linux.
const (
	tcpUserTimeout = 18
	tcpKeepIdle    = 4
)

// boundUnacknowledged bounds, on Linux, how long data that was sent on c may stay unacknowledged. It returns false and does nothing if somebody has set
// c's times: by default Go sends keepalive probes after 15 s and sets no such bound.
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

// peek returns what can be read from fd, and leaves it there.
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
