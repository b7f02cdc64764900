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

// most bounds the cancel connections that a pool has at once, those of closing connections included. The server forks a process for each, so more
// of them are not served sooner, and are a load on a server that may be slow because of its load.
const most = 8

// Limiter is what the cancel requests of a pool have in common.
type Limiter struct {
	slots   chan struct{}   // one for each cancel connection that is open or being opened
	closing <-chan struct{} // closed by Shutdown
	sent    atomic.Int64    // see Stat
	lost    atomic.Int64
}

// NewLimiter returns the Limiter of a pool of at most conns connections.
func NewLimiter(conns int, closing <-chan struct{}) *Limiter {
	return &Limiter{slots: make(chan struct{}, min(most, conns)), closing: closing}
}

// key is where pgx keeps the canceler of a connection for us.
const key = "lmipool.canceler"

// Install gives the connection that cc is for its [Canceler]. cc's DialFunc and ValidateConnect must not be nil, and nobody may change them later.
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

// Of returns the canceler of a connection whose login is over; nil if none was installed.
func Of(pc *pgconn.PgConn) *Canceler {
	c, _ := pc.CustomData()[key].(*Canceler)
	return c
}

var (
	errAnswered = errors.New("lmipool: the statement has its answer")
	errLogin    = errors.New("lmipool: the session has not begun: there is nothing to cancel")
)

// dial wraps the DialFunc of one connection. Once that is open, pgx uses it for cancel connections only, whoever asks for one. They queue here, in
// order, except during Shutdown: the process may have a few hundred milliseconds to live, so each connection that is cut off has its own at once.
func (l *Limiter) dial(s *stage, dialing func(context.Context) bool, dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		if !s.opened.Load() {
			if !s.begun.Load() && !dialing(ctx) { // pgx wants to cancel a login that was lost
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
	free func() // frees its slot, once
}

func (c *cancelConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// Stat counts the cancel connections that are open, that may be, and that were used; and the connections that were given up because of one.
func (l *Limiter) Stat() (open, limit int, sent, lost int64) {
	return len(l.slots), cap(l.slots), l.sent.Load(), l.lost.Load()
}
