package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sched"
)

// All connections of a pool lead to one server, so what one of them finds out counts for all.
//
// A fence is made when the server is certainly no writer any more, and this pool needs one. Connections that were dialed before are not used again.
//
// A loss is a suspicion: a connection ended that the pool did not close. A single terminated backend says nothing about the others, so each of them
// is checked once, with one round trip, before it is handed out. Otherwise a write could be sent into a dead socket, with an unknown outcome.

// fence gives up every connection that was dialed before now. why is what c has found out of its server.
func (p *Pool) fence(c *conn, why error) {
	idle, first := p.sched.Fence(&c.place)
	if first {
		p.health.turned()
		now := "is a standby now"
		if why == pgerr.ErrReadOnlyServer { //nolint:errorlint // it is one of two
			now = "is read-only now, by its configuration"
		}
		p.log.Warn("lmipool: the server "+now+"; its connections are given up", "server", c.pg.PgConn().Conn().RemoteAddr())
	}
	closeAll(idle)
}

// Reset closes all connections: idle ones now, those in use when they come back. The pool goes on with new ones. Call it after a change that the pool
// cannot notice, such as ALTER ROLE … SET, which only new sessions follow.
func (p *Pool) Reset() { p.engine.reset() }

func (p pooled) reset() {
	idle, _ := p.sched.Fence(nil)
	closeAll(idle)
}

// suspected reports whether c was last heard from before the last loss.
func (c *conn) suspected() bool { return c.wire.Epoch() != c.p.health.losses.Load() }

// verify reports whether c's server answers, and writes if this pool needs a writer. With refused, it has just refused to write.
func (c *conn) verify(ctx context.Context, refused bool) bool {
	bound, cancel := context.WithTimeout(ctx, c.p.cfg.PingTimeout)
	defer cancel()
	defer c.cancel.Restore(c.cancel.WaitOnly())
	w := c.p.writer
	stands, ok := pgdial.Writes, true
	var err error
	if refused || w.Wanted() { // costs about as much as a ping, which a standby answers too
		stands, err = pgdial.StandingOf(bound, c.pg.PgConn())
	} else {
		err = c.pg.Ping(bound)
	}
	if err == nil && refused {
		ok = w.Refused(stands)
	}
	why := w.Misses(stands)
	switch {
	case err != nil && ctx.Err() == nil:
		c.p.health.lost()
		if bound.Err() != nil { // each of the others would take as long
			closeAll(c.p.sched.TakeIdle(func(o *sched.Conn, _, _ int) bool { return o.Owner.(*conn).suspected() }))
		}
	case why != nil:
		c.p.fence(c, why)
	}
	return err == nil && ok && why == nil
}

// recordError notes what err says of c and its server, and returns it with what it means for the caller. c's owner calls it for each error.
func (c *conn) recordError(err error) error {
	pc := c.pg.PgConn()
	if broke := c.wire.Broke(); pgerr.IsLost(broke) && errors.Is(err, pgconn.ErrConnClosed) {
		err = fmt.Errorf("%w: %w", err, broke) // in the simple protocol pgx does not give the reason
	}
	switch {
	case errors.Is(err, pgwire.ErrSimple): // without pgx's wrapper, which calls it safe to retry: it would fail again
		return pgwire.ErrSimple
	case pc.IsClosed() && (pgerr.IsLost(err) || errors.Is(err, pgconn.ErrConnClosed)):
		if pgerr.IsLost(err) && !c.lost {
			c.lost = true
			c.p.health.lost()
		}
		if !c.wire.Executed() && pc.TxStatus() == 'I' {
			return pgerr.NotRun("the connection was lost before the statement was sent", err)
		}
	case pgerr.ReadOnly(err) && c.p.writer.Concerns(pc):
		c.maybeStandby = true
		if !c.confirmPrimary() && c.place.Fenced() && pc.TxStatus() == 'I' {
			return pgerr.NotRun(c.p.writer.Why().Error(), err)
		}
	}
	return err
}

// confirmPrimary asks a server that has refused to write whether it is no writer any more, or whether only the transaction was read-only. It does so
// as soon as nothing else is under way on c, and reports whether, as far as is known, the server writes.
func (c *conn) confirmPrimary() bool {
	pc := c.pg.PgConn()
	if c.maybeStandby && !pc.IsClosed() && !pc.IsBusy() && pc.TxStatus() == 'I' && !c.cancel.Pending() {
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		c.maybeStandby = !c.verify(ctx, true)
	}
	return !c.maybeStandby
}

// wrapError returns err with what c knows of it: that the statement did not run, or that it was cancelled.
func (c *conn) wrapError(err error) error {
	if err == nil {
		return nil
	}
	if failed := c.wire.Failure(); failed != nil {
		if pgerr.IsLost(failed) {
			c.p.health.lost()
		}
		return pgerr.Named(failed, inPgerr)
	}
	if told := c.wire.Declined(); told != nil && !pgerr.IsLost(err) { // a lost connection did not decline the settings
		return pgerr.Wrap[pgerr.SettingsError](fmt.Errorf("lmipool: With: %w", c.cancel.Explain(told(err))))
	}
	c.reach.Conflicts(err)
	return pgerr.Named(c.committed(c.recordError(c.session.WithoutArgument(c.cancel.Explain(err)))), inPgerr)
}

// committed returns err, of the last call, so that it is not Retryable if something may have been committed before it.
func (c *conn) committed(err error) error {
	if pgerr.DidNotRun(err) || !c.session.MayHaveCommitted() {
		return err
	}
	return partlyDone(err)
}

// partlyDone returns err for a call that may have committed something: it is not Retryable.
func partlyDone(err error) error {
	if err == nil || !Retryable(err) {
		return err
	}
	return pgerr.PartlyDone(err)
}
