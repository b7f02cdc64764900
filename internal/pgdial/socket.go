package pgdial

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// AWS recommends these values for quick failovers (Aurora User Guide, "Fast failover with Amazon Aurora PostgreSQL"). TCP sends no keepalive probes while
// data that was sent, such as a statement, is not acknowledged. So awsUnacknowledged bounds that time.
const (
	AWSConnectTimeout = 2 * time.Second
	awsKeepAlive      = time.Second
	awsKeepAliveCount = 5
	awsUnacknowledged = awsKeepAlive * (awsKeepAliveCount + 1)
)

// LookAfter wraps dial, so that its TCP connections fail within seconds when the other machine is gone. It does nothing if dial has set such times.
func LookAfter(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := dial(ctx, network, addr)
		if tcp, ok := nc.(*net.TCPConn); ok && err == nil {
			if raw, e := tcp.SyscallConn(); e == nil && boundUnacknowledged(raw, awsUnacknowledged) {
				_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: awsKeepAlive, Interval: awsKeepAlive, Count: awsKeepAliveCount})
			}
		}
		return nc, err
	}
}

// PeekAfter is how long a connection must have been idle before its owner looks at its socket: right after an answer that is not worth a system call.
const PeekAfter = time.Millisecond

// Sight is what can be read from a socket on which no answer is due.
type Sight uint8

const (
	Nothing   Sight = iota
	Something       // there is a message, such as a changed setting, a notification, or the error with which the session has ended
	End             // the server has closed its end
)

// Peeker looks at a connection's socket (MSG_PEEK), without a round trip. A server that restarts closes its sockets. Without the look, the next
// statement would go to a closed socket, and its caller could not know whether it was done. The look is a system call of half a microsecond.
type Peeker struct {
	raw  syscall.RawConn
	peek func(fd uintptr) // allocated once
	is   Sight
}

// NewPeeker returns a Peeker for nc, or nil if nc has no socket of the operating system.
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
	p.peek = func(fd uintptr) { p.is = peek(fd) }
	return p
}

// Look returns what can be read from the socket. Only the connection's owner may call it. A nil Peeker returns Nothing.
func (p *Peeker) Look() Sight {
	if p == nil {
		return Nothing
	}
	if p.raw.Control(p.peek) != nil { // raw.Read would wait for another Read that is under way
		return End
	}
	return p.is
}

// Raw returns the socket below TLS. Its write side can be closed without sending anything; TLS would send an alert.
func Raw(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return nc
}
