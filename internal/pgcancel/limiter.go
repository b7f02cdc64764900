package pgcancel

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// most bounds the cancel connections that a pool has at once, those of closing connections included. The server forks for each of
// them, so more at once are not served sooner; they would be a load beside the one that made the statements slow.
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

// key is where pgx keeps the canceler of a connection for us.
const key = "lmipool.canceler"

// Install gives the connection that cc is for its [Canceler]. It is the last to change cc's DialFunc and ValidateConnect, which
// must not be nil.
func (l *Limiter) Install(cc *pgx.ConnConfig, o Options) {
	s, theirs, validate := new(stage), cc.BuildContextWatcherHandler, cc.ValidateConnect
	cc.DialFunc = l.dial(s, o.Dialing, cc.DialFunc)
	cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
		s.begun.Store(!o.Later)
		return validate(ctx, pc)
	}
	cc.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
		c := &Canceler{pc: pc, nc: pc.Conn(), stage: s, lost: &l.lost, o: o, off: o.UserOwn || o.Wait < 0}
		pc.CustomData()[key] = c
		if o.UserOwn {
			return theirs(pc)
		}
		return c
	}
}

// Of is the canceler of a connection, whose login is over; nil if none was installed.
func Of(pc *pgconn.PgConn) *Canceler {
	c, _ := pc.CustomData()[key].(*Canceler)
	return c
}

var (
	errAnswered = errors.New("lmipool: the statement has its answer")
	errLogin    = errors.New("lmipool: the session has not begun: there is nothing to cancel")
)

// dial wraps the DialFunc of one connection. Once that is open, what it dials are cancel connections: pgx makes them with it, whoever
// asks for one. They queue here, in order, but for Shutdown, whose process may have a few hundred milliseconds to live: then each
// connection that is torn away has its own at once. Before its session has begun nothing runs in it.
func (l *Limiter) dial(s *stage, dialing func(context.Context) bool, dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		if !s.opened.Load() {
			if !s.begun.Load() && !dialing(ctx) { // pgx cleans up after a login that was lost
				return nil, errLogin
			}
			return dial(ctx, network, addr)
		}
		c := &cancelConn{free: func() {}}
		select {
		case l.slots <- struct{}{}:
			c.free = sync.OnceFunc(func() { <-l.slots })
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
	free func() // its slot, once
}

func (c *cancelConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// Stat counts the cancel connections, those that are open, how many may be, and all that were used; and the connections
// that were given up because of one.
func (l *Limiter) Stat() (open, limit int, sent, lost int64) {
	return len(l.slots), cap(l.slots), l.sent.Load(), l.lost.Load()
}
