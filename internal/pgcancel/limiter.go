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

// most bounds the cancel connections that a pool has at once. The server forks a process for each, so more of them would not be served sooner, and
// would slow down a server that may be overloaded already.
const most = 8

// Limiter bounds and counts the cancel connections of a pool.
type Limiter struct {
	slots   chan struct{}   // has one value for each cancel connection that is open or being opened
	closing <-chan struct{} // is closed by Shutdown
	sent    atomic.Int64    // counts the cancel connections that were used
	lost    atomic.Int64    // counts the connections that were lost because of a cancel request
}

// NewLimiter returns the Limiter of a pool of at most conns connections. closing is closed by the pool's Shutdown.
func NewLimiter(conns int, closing <-chan struct{}) *Limiter {
	return &Limiter{slots: make(chan struct{}, min(most, conns)), closing: closing}
}

// key is the key under which a connection's CustomData holds its Canceler.
const key = "lmipool.canceler"

// Install gives a connection that is dialed with cc a [Canceler]. cc's DialFunc and ValidateConnect must not be nil, and must not be changed later.
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

// Of returns the Canceler of pc, or nil if none was installed.
func Of(pc *pgconn.PgConn) *Canceler {
	c, _ := pc.CustomData()[key].(*Canceler)
	return c
}

var (
	errAnswered = errors.New("lmipool: the statement has its answer")
	errLogin    = errors.New("lmipool: the session has not begun: there is nothing to cancel")
)

// dial wraps the DialFunc of one connection. Once the connection is open, pgx uses its DialFunc for cancel connections only. They wait here for a slot,
// in order, except during Shutdown. Then the process may end within a few hundred milliseconds, so each connection that is cut off gets one at once.
func (l *Limiter) dial(s *stage, dialing func(context.Context) bool, dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		if !s.opened.Load() {
			if !s.begun.Load() && !dialing(ctx) { // pgx dials to cancel a login that was lost
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
			if c.Conn == nil { // there was an error, or the user's DialFunc has panicked
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
	free func() // frees the connection's slot when it is called first, and does nothing later
}

func (c *cancelConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// Stat counts the cancel connections that are open, that may be open and that were used, and the connections that were lost because of a cancel request.
func (l *Limiter) Stat() (open, limit int, sent, lost int64) {
	return len(l.slots), cap(l.slots), l.sent.Load(), l.lost.Load()
}
