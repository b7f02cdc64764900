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

const (
	// goodbyeTimeout bounds the wait for the server's end of an idle connection
	// after Terminate. A living server answers within a round trip.
	goodbyeTimeout = time.Second

	// graceToAbort bounds the write of Terminate to a connection that is being
	// torn away, whose user may be stuck in a write himself.
	graceToAbort = 20 * time.Millisecond
)

// conn is one connection. Who may touch it changes hands in the scheduler:
// the idle stack, then one lease, then the goroutine that cleans or closes it.
//
// pgxpool always sees it as acquired: were it idle there, pgxpool's health check
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

// fit makes sure that c can be handed to its new owner, on the owner's time, as
// pgxpool's Acquire does. If it returns false, c is on its way out.
func (c *conn) fit(ctx context.Context, l *Lease) (bool, error) {
	switch {
	case c.place.Fenced():
		c.closeInBackground()
		return false, nil
	case c.expiredAt(c.place.Since()): // since it was lent: just now
		c.p.stats.endedByAge()
		c.closeInBackground()
		return false, nil
	}
	seen := pgdial.Nothing
	if c.place.IdleFor() >= pgdial.PeekAfter {
		seen = c.peek.Look()
	}
	if seen == pgdial.End {
		c.p.health.lost()
		c.closeInBackground()
		return false, nil
	}
	ping := true
	c.p.protect("ShouldPing", func() {
		ping = c.p.cfg.ShouldPing(ctx, pgxpool.ShouldPingParams{Conn: c.pg, IdleDuration: c.place.IdleFor()})
	})
	ping = ping || c.suspected() || seen == pgdial.Something && !c.wire.Busy() // its last words, it may be
	if l != nil && (ping || c.p.cfg.PrepareConn != nil) {                      // a flight's ctx ends with the pool anyway
		var cancel context.CancelFunc
		ctx, cancel = l.checking(ctx) // Shutdown need not wait for this
		defer cancel()
	}
	if ping && !c.verify(ctx, false) {
		c.closeInBackground()
		return false, ctx.Err()
	}
	if !c.session.ResetIfDoubted() {
		c.unclean()
		return false, nil
	}
	if c.p.cfg.PrepareConn == nil {
		return true, nil
	}
	ok := false
	var err error
	changed := c.session.RunHook(func() {
		err = c.p.catchPanic("PrepareConn", func() (err error) {
			ok, err = c.p.cfg.PrepareConn(ctx, c.pg)
			return err
		})
	})
	c.types.Forget()
	if changed {
		l.use.Doubt()
	}
	switch {
	case !ok:
		c.closeInBackground()
	case err != nil: // the connection may be kept, if it is clean
		c.keep()
		ok = false
	}
	return ok, err
}

func (c *conn) expired() bool { return c.expiredAt(time.Now()) }

func (c *conn) expiredAt(now time.Time) bool {
	return c.place.Fenced() || !c.expires.IsZero() && now.After(c.expires)
}

// giveBack returns c, whose lease has ended and whom nobody uses any more, to
// the queue or the idle stack. What takes time happens in the background, never
// on the caller's.
func (c *conn) giveBack() {
	c.session.Rest()
	c.cancel.AsPgx()
	if c.p.cfg.AfterRelease == nil || !c.clean() { // the hook sees none that has to be cleaned first
		c.keep()
		return
	}
	c.p.sched.Retain(&c.place)
	c.p.background("AfterRelease", c.afterRelease)
}

// keep is giveBack without the hook.
func (c *conn) keep() {
	pc := c.pg.PgConn()
	now := time.Now()
	switch {
	case c.p.ctx.Err() != nil && !pc.IsClosed(): // nobody comes after it: nothing has to be rolled back or reset
		c.closeInBackground()
	case c.cleanAt(now):
		c.handOn(now)
	case pc.IsClosed() || pc.IsBusy() || c.expiredAt(now):
		if pc.IsClosed() && c.cancel.Pending() {
			c.cancel.GivenUp()
		}
		c.closeInBackground()
	case c.cancel.Pending():
		c.p.sched.Retain(&c.place)
		c.p.background("settle", c.settled)
	case pc.TxStatus() == 'I':
		c.p.sched.Retain(&c.place)
		c.p.background("verify", c.resolved)
	default:
		c.p.sched.Retain(&c.place)
		c.p.background("rollback", c.rollback)
	}
}

// clean reports whether c can be used as it is.
func (c *conn) clean() bool { return c.cleanAt(time.Now()) }

func (c *conn) cleanAt(now time.Time) bool {
	pc := c.pg.PgConn()
	return !pc.IsClosed() && !pc.IsBusy() && pc.TxStatus() == 'I' && !c.cancel.Pending() && !c.expiredAt(now) && !c.maybeStandby
}

// rollback ends the transaction that the last user left open. pgxpool closes the
// connection; a rollback costs one round trip and keeps it.
func (c *conn) rollback() {
	done := false
	defer func() {
		if done {
			c.giveBack()
		} else { // also when a tracer panicked
			c.closeInBackground()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	defer c.cancel.Restore(c.cancel.WaitOnly())
	_, err := c.pg.Exec(ctx, "rollback")
	done = err == nil && c.pg.PgConn().TxStatus() == 'I'
}

func (c *conn) afterRelease() {
	keep := false
	c.session.RunHook(func() { c.p.protect("AfterRelease", func() { keep = c.p.cfg.AfterRelease(c.pg) }) })
	c.types.Forget()
	if !keep {
		c.closeInBackground()
		return
	}
	c.keep()
}

// closeInBackground closes c in the background. Its place is free again once the server has
// let go, so that the server never counts more connections than the limit.
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

// goodbye sends Terminate and waits until the server has closed its end: PostgreSQL
// leaves that to the end of the process, so then the backend is gone. pgx's Close
// does not wait, and the server would first finish what it is doing.
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

// abort tears c away from a user who still has the raw *pgx.Conn, or is stuck in
// a call. Close and Release would race with him inside pgx; a net.Conn may be
// written and closed by anybody. After Terminate and the end of our half nothing
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
