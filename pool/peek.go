package pool

import (
	"net"
	"syscall"
	"time"
)

// peekAfter is for how long a connection was idle whose socket is looked at.
const peekAfter = time.Millisecond

// heard is what waits to be read from a socket of which nobody expects anything.
type heard uint8

const (
	nothing     heard = iota
	something         // a change of a setting, a notification, or why the server ended the session
	nothingMore       // its other end is closed
)

// peeker looks at a connection's socket, without a round trip. A server that restarts closes
// its ends, and the first to hear of it would otherwise be who sends the next statement, to
// nobody: whether that was done he could not know. It is a system call of half a microsecond,
// so it is left out where somebody else has just had an answer.
type peeker struct {
	raw  syscall.RawConn
	peek func(fd uintptr) // allocated once
	is   heard
}

// newPeeker returns nil for what is no socket of the system's.
func newPeeker(nc net.Conn) *peeker {
	sc, ok := rawConn(nc).(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	p := &peeker{raw: raw}
	p.peek = func(fd uintptr) { p.is = peek(fd) }
	return p
}

// look is its owner's.
func (p *peeker) look() heard {
	if p == nil {
		return nothing
	}
	p.is = nothing
	// Not Read, which would wait for another that is under way.
	if p.raw.Control(p.peek) != nil {
		return nothingMore
	}
	return p.is
}
