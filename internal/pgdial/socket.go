package pgdial

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

// What AWS recommends for quick failovers (Aurora User Guide, "Fast failover with Amazon Aurora PostgreSQL"). There are no keepalive probes while
// something that was sent, such as a statement, is unacknowledged; awsUnacknowledged is how long that may be so.
const (
	AWSConnectTimeout = 2 * time.Second
	awsKeepAlive      = time.Second
	awsKeepAliveCount = 5
	awsUnacknowledged = awsKeepAlive * (awsKeepAliveCount + 1)
)

// AWSDialer returns a dialer whose connections fail within seconds when the other machine is gone.
func AWSDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: awsKeepAlive, Interval: awsKeepAlive, Count: awsKeepAliveCount},
		Control:         boundUnacknowledged(awsUnacknowledged),
	}
}

// PeekAfter is how long a connection must have been idle for its socket to be looked at.
const PeekAfter = time.Millisecond

// Sight is what can be read from a socket on which no answer is due.
type Sight uint8

const (
	Nothing   Sight = iota
	Something       // a change of a setting, a notification, or why the server ended the session
	End             // its other end is closed
)

// Peeker looks at a connection's socket (MSG_PEEK), without a round trip. A server that restarts closes its sockets. Without a look, the next statement
// would be sent to nobody, and its caller could not know whether it was done. The look is a system call of half a microsecond, so it is left out where
// an answer was just read.
type Peeker struct {
	raw  syscall.RawConn
	peek func(fd uintptr) // allocated once
	is   Sight
}

// NewPeeker returns nil if nc has no socket of the system's.
func NewPeeker(nc net.Conn) *Peeker {
	sc, ok := Raw(nc).(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	p := &Peeker{raw: raw}
	p.peek = func(fd uintptr) {
		switch some, end := peek(fd); {
		case some:
			p.is = Something
		case end:
			p.is = End
		}
	}
	return p
}

// Look is for the connection's owner only. A nil Peeker sees Nothing.
func (p *Peeker) Look() Sight {
	if p == nil {
		return Nothing
	}
	p.is = Nothing
	if p.raw.Control(p.peek) != nil { // Read would wait for another Read that is under way
		return End
	}
	return p.is
}

// Raw returns the socket below TLS, whose write side can be closed without sending anything.
func Raw(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return nc
}
