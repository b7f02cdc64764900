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

// conn is one connection. Who may touch it changes hands in the scheduler: the idle stack, then one lease, then the goroutine that
// cleans or closes it. pgxpool always sees it as acquired: were it idle there, pgxpool's health check
// could take it for a moment, and an Acquire that finds nothing idle dials.
type conn struct {
	p       *Pool
	px      *pgxpool.Conn
	pg      *pgx.Conn
	expires time.Time // zero: never
	place   sched.Conn

	reach  *upstream.Reach
	copies pgx.CopyFromTracer // nil: none

	types   memrows.Maps
	wire    *pgwire.Conn
	session isolation.Session // the owner's
	lane    *lane.Lane        // nil: no flights on this one
	cancel  *pgcancel.Canceler

	// the owner's
	maybeStandby bool // its server has refused to write, and may be no writer any more
	lost         bool
	peek         *pgdial.Peeker // nil: its socket cannot be looked at
}

// expired reports whether nobody is to get c any more.
func (c *conn) expired(now time.Time) bool {
	return c.place.Fenced() || !c.expires.IsZero() && now.After(c.expires)
}

// clean reports whether c can be used as it is.
func (c *conn) clean() bool {
	pc := c.pg.PgConn()
	return !pc.IsClosed() && !pc.IsBusy() && pc.TxStatus() == 'I' && !c.cancel.Pending() && !c.expired(time.Now()) && !c.maybeStandby
}

const (
	// goodbyeTimeout bounds the wait for the server's end after Terminate, and each step of a way home. A living server answers within a round trip.
	goodbyeTimeout = time.Second

	// graceToAbort bounds the write of Terminate to a connection that is being torn away, whose user may be stuck in a write himself.
	graceToAbort = 20 * time.Millisecond
)

// closeInBackground closes c. Its place is free again once the server has let go, so that the server never counts more
// connections than the limit.
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

// letGo closes what pgx and pgxpool have of c, and waits until they have let go.
func (c *conn) letGo(ctx context.Context) {
	_ = c.pg.Close(ctx) // a second time is nothing
	awaitCleanup(ctx, c.pg)
	c.px.Release() // pgxpool sees a closed connection and forgets it
}

// goodbye sends Terminate and waits until the server has closed its end: PostgreSQL leaves that to the end of the process,
// so then the backend is gone. pgx's Close does not wait, and the server would first finish what it is doing.
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

// abort tears c away from a user who still has the raw *pgx.Conn, or is stuck in a call. Close and Release would race with him
// inside pgx; a net.Conn may be written and closed by anybody. After Terminate and the end of our half nothing
// more can be sent. The place is free again when the server has closed its end.
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
		_ = nc.SetReadDeadline(time.Now()) // wakes the user out of a read
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
			_ = nc.SetReadDeadline(deadline) // not before: the user has to wake up
			_, _ = io.Copy(io.Discard, nc)
		}
	})
}

// closeAll closes connections that were idle.
func closeAll(places []*sched.Conn) {
	for _, place := range places {
		place.Owner.(*conn).closeInBackground()
	}
}
