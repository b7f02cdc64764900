//go:build unix

package pool

import "syscall"

func peek(fd uintptr) heard {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR:
		return nothing
	case err != nil || n == 0:
		return nothingMore
	}
	return something
}
