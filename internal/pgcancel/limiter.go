package pgcancel

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// most bounds the cancel connections that a pool has at once, those of closing
// connections included. The server forks for each of them, so more at once are not
// served sooner; they would be a load beside the one that made the statements slow.
const most = 8

// Limiter is what the cancel requests of a pool have in common.
type Limiter struct {
	slots   chan struct{}   // one for each cancel connection that is open or being opened
	closing <-chan struct{} // closed by Shutdown
	sent    atomic.Int64
	lost    atomic.Int64 // connections that were given up because of one
}

// NewLimiter is for a pool of conns connections at most.
func NewLimiter(conns int, closing <-chan struct{}) *Limiter {
	return &Limiter{slots: make(chan struct{}, min(most, conns)), closing: closing}
}

var (
	errAnswered = errors.New("lmipool: the statement has its answer")
	errLogin    = errors.New("lmipool: the session has not begun: there is nothing to cancel")
)

// dial wraps the DialFunc of one connection. Once that is open, what it dials are cancel
// connections: pgx makes them with it, whoever asks for one. They queue here, in order,
// but for Shutdown, whose process may have a few hundred milliseconds to live: then each
// connection that is torn away has its own at once. Before its session has begun nothing runs in it.
func (l *Limiter) dial(s *stage, dialing func(context.Context) bool, dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		if !s.opened.Load() {
			if !s.begun.Load() && !dialing(ctx) { // pgx cleans up after a login that was lost
				return nil, errLogin
			}
			return dial(ctx, network, addr)
		}
		c := &cancelConn{l: l}
		select {
		case l.slots <- struct{}{}:
			c.slot = true
		case <-l.closing:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		defer func() {
			if c.Conn == nil { // also when a DialFunc of the user's panicked
				c.free()
			}
		}()
		nc, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if r, ok := ctx.Value(requestKey{}).(*request); ok && !r.setOff() {
			nc.Close()
			return nil, errAnswered
		}
		l.sent.Add(1)
		c.Conn = nc
		return c, nil
	}
}

// cancelConn is a connection that carries one cancel request.
type cancelConn struct {
	net.Conn
	l    *Limiter
	slot bool
	once sync.Once
}

func (c *cancelConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

func (c *cancelConn) free() {
	if c.slot {
		c.once.Do(func() { <-c.l.slots })
	}
}

// Stat counts the cancel connections, those that are open, how many may be, and all that were used; and the connections
// that were given up because of one.
func (l *Limiter) Stat() (open, limit int, sent, lost int64) {
	return len(l.slots), cap(l.slots), l.sent.Load(), l.lost.Load()
}
