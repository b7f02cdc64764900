package pool

import (
	"context"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/upstream"
)

// conn is one connection. At any time it has one owner: the scheduler while it is idle, then a lease or a flight, then the goroutine that cleans or
// closes it. pgxpool always sees it as acquired: its health check could take an idle one for a moment, and an Acquire that finds none dials.
type conn struct {
	p       *Pool
	px      *pgxpool.Conn
	pg      *pgx.Conn
	expires time.Time // zero: never
	place   sched.Conn
	reach   *upstream.Reach
	copies  pgx.CopyFromTracer // nil: none
	types   memrows.Maps
	wire    *pgwire.Conn
	cancel  *pgcancel.Canceler
	lane    *lane.Lane // nil: no flights on this one

	// Only the owner uses these.
	session      isolation.Session
	maybeStandby bool           // its server has refused to write, and may be no writer any more
	lost         bool           // it ended, but not because the pool closed it; the pool's health has noted that
	peek         *pgdial.Peeker // nil: its socket cannot be looked at
}

// expired reports whether c is fenced or past its lifetime: nobody gets it any more.
func (c *conn) expired(now time.Time) bool {
	return c.place.Fenced() || !c.expires.IsZero() && now.After(c.expires)
}

// clean reports whether c is open, idle, in no transaction, and free of doubt about cancel requests, its age and its server.
func (c *conn) clean() bool {
	pc := c.pg.PgConn()
	return !pc.IsClosed() && !pc.IsBusy() && pc.TxStatus() == 'I' && !c.cancel.Pending() && !c.expired(time.Now()) && !c.maybeStandby
}

const (
	// goodbyeTimeout bounds the wait for the server's end after Terminate, and each step of a way home. A living server answers in a round trip.
	goodbyeTimeout = time.Second

	// graceToAbort bounds the write of Terminate to a connection that is being cut off: its user may be stuck in a write.
	graceToAbort = 20 * time.Millisecond
)

// closeUnless is deferred around what may call code of the user's. If that panics, or ends its goroutine (runtime.Goexit), nobody has c.
func (c *conn) closeUnless(returned *bool) {
	if !*returned {
		c.closeInBackground()
	}
}

// closeInBackground closes c. Its place is free when the server has closed its end, so that the server never has more connections than the limit.
func (c *conn) closeInBackground() {
	c.cancel.Close()
	c.p.sched.Leaves(&c.place)
	c.p.background("close", func() {
		defer c.p.sched.Drop(&c.place)
		c.reach.Left()
		if c.p.cfg.BeforeClose != nil {
			c.p.protect("BeforeClose", func() { c.p.cfg.BeforeClose(c.pg) })
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		c.goodbye(ctx)
		c.letGo(ctx)
	})
}

// letGo closes c for pgx and pgxpool, and waits until pgx has closed the socket.
func (c *conn) letGo(ctx context.Context) {
	_ = c.pg.Close(ctx) // does nothing if it is closed
	awaitCleanup(ctx, c.pg)
	c.px.Release() // pgxpool sees a closed connection and forgets it
}

// goodbye sends Terminate and waits until the server has closed its end, which PostgreSQL does when the process ends: then the backend is gone. pgx's
// Close does not wait for that. A statement that still runs is cancelled, since the server would finish it first.
func (c *conn) goodbye(ctx context.Context) {
	pc := c.pg.PgConn()
	if pc.IsClosed() {
		return // pgx has begun to cancel and drain
	}
	if pc.IsBusy() {
		_ = pc.CancelRequest(ctx)
	}
	nc := pc.Conn()
	_ = nc.SetDeadline(time.Now().Add(goodbyeTimeout))
	if pgwire.Terminate(nc) == nil {
		_, _ = io.Copy(io.Discard, nc)
	}
}

// abort cuts c off from a user who still has the raw *pgx.Conn, or is stuck in a call. pgx's Close would race with that user inside pgx, but any
// goroutine may write to and close a net.Conn. After Terminate and CloseWrite nothing more can be sent. The server's end frees the place.
func (c *conn) abort() {
	c.cancel.Close()
	c.p.sched.Leaves(&c.place)
	c.reach.Left()
	c.px.Hijack()
	own := c.pg.PgConn().Conn()
	_ = own.SetWriteDeadline(time.Now().Add(graceToAbort))
	_ = pgwire.Terminate(own)
	nc := pgdial.Raw(own)
	half, ok := nc.(interface{ CloseWrite() error })
	if ok {
		_ = half.CloseWrite()
		_ = nc.SetReadDeadline(time.Now()) // ends a read of the user's
	} else {
		nc.Close()
	}
	c.p.background("abort", func() {
		defer c.p.sched.Drop(&c.place)
		defer nc.Close()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = c.pg.PgConn().CancelRequest(ctx) // reads only what never changes
		if ok {
			deadline, _ := ctx.Deadline()
			_ = nc.SetReadDeadline(deadline) // not before the cancel request: the user's read has to end
			_, _ = io.Copy(io.Discard, nc)
		}
	})
}

// closeAll closes connections that the scheduler had as idle.
func closeAll(places []*sched.Conn) {
	for _, place := range places {
		place.Owner.(*conn).closeInBackground()
	}
}
