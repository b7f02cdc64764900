package pgdial

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

// What AWS recommends for quick failovers (Aurora User Guide, "Fast failover with Amazon Aurora PostgreSQL"). Keepalive probes stop
// while something is unacknowledged, a statement say; the last one is for that, and counts from then.
const (
	AWSConnectTimeout = 2 * time.Second
	awsKeepAlive      = time.Second
	awsKeepAliveCount = 5
	awsUnacknowledged = awsKeepAlive * (awsKeepAliveCount + 1)
)

// AWSDialer notices within seconds that a machine is gone that says nothing any more.
func AWSDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: awsKeepAlive, Interval: awsKeepAlive, Count: awsKeepAliveCount},
		Control:         boundUnacknowledged(awsUnacknowledged),
	}
}

// PeekAfter is for how long a connection was idle whose socket is looked at.
const PeekAfter = time.Millisecond

// Sight is what waits to be read from a socket of which nobody expects anything.
type Sight uint8

const (
	Nothing   Sight = iota
	Something       // a change of a setting, a notification, or why the server ended the session
	End             // its other end is closed
)

// Peeker looks at a connection's socket (MSG_PEEK), without a round trip. A server that restarts closes its ends, and the first to hear of
// it would otherwise be who sends the next statement, to nobody: whether that was done he could not know. It is a system call of half a
// microsecond, so it is left out where somebody else has just had an answer.
type Peeker struct {
	raw  syscall.RawConn
	peek func(fd uintptr) // allocated once
	is   Sight
}

// NewPeeker returns nil for what is no socket of the system's.
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

// Look is the connection's owner's. A nil Peeker sees Nothing.
func (p *Peeker) Look() Sight {
	if p == nil {
		return Nothing
	}
	p.is = Nothing
	if p.raw.Control(p.peek) != nil { // not Read, which would wait for another that is under way
		return End
	}
	return p.is
}

// Raw is the socket below TLS, whose half can be closed without a word.
func Raw(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return nc
}
