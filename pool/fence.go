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

// All connections of a pool lead to one server, so what one connection finds out about the server counts for all.
//
// If the server is certainly no writer any more, and the pool needs a writer, fence gives up all connections that were dialed before.
//
// If a connection ended that the pool did not close, the others may be dead, too. Each of them is checked once, with one round trip, before it is handed
// out. Otherwise a write could be sent into a dead socket, with an unknown outcome.

// fence gives up every connection that was dialed before now. why says why c's server is no writer.
func (p *Pool) fence(c *conn, why error) {
	idle, first := p.sched.Fence(&c.place)
	if first {
		p.health.turned()
		now := "is a standby now"
		if why == pgerr.ErrReadOnlyServer { //nolint:errorlint // it is one of two
			now = "is read-only now, by its configuration"
		}
		p.log.Warn("lmipool: the server "+now+"; its connections are given up", "server", c.server().String())
	}
	closeAll(idle)
	if first {
		p.dialer.companions.Reset()
		p.tellFence(c, why, len(idle))
	}
}

// Reset closes idle connections now, and those in use when they come back. The pool goes on with new ones. Call Reset after a change that the pool
// cannot notice, such as ALTER ROLE … SET, which only new sessions follow.
func (p *Pool) Reset() { p.on().reset() }

func (p pooled) reset() {
	idle, _ := p.sched.Fence(nil)
	closeAll(idle)
	p.dialer.companions.Reset()
}

// suspected reports whether another connection was lost since c's server last sent something on c. Then c may be dead, too.
func (c *conn) suspected() bool { return c.wire.Epoch() != c.p.health.losses.Load() }

// unanswered notes that a question of the pool's own had no answer in time on c.
func (c *conn) unanswered() {
	c.silent = true
	c.p.health.lost()
}

// verify asks c's server, and reports whether it answers, and is a writer if the pool needs one. If refused is true, it has just refused to write.
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
		if bound.Err() != nil { // checking each of the other suspected connections would take as long
			c.unanswered()
			closeAll(c.p.sched.TakeIdle(func(o *sched.Conn, _, _ int) bool { return o.Owner.(*conn).suspected() }))
		}
	case why != nil:
		c.p.fence(c, why)
	}
	return err == nil && ok && why == nil
}

// recordError notes what err says about c and its server. If err means that the statement did not run, the returned error says so.
func (c *conn) recordError(err error) error {
	pc := c.pg.PgConn()
	if broke := c.wire.Broke(); pgerr.IsLost(broke) && errors.Is(err, pgconn.ErrConnClosed) {
		err = fmt.Errorf("%w: %w", err, broke) // in the simple protocol pgx does not give the reason
	}
	switch {
	case errors.Is(err, pgwire.ErrSimple): // without pgx's wrapper, which would make the error Retryable: the statement would fail again
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
		partly := c.session.MayHaveCommitted() // for example a batch with COMMIT in it
		if !c.confirmPrimary() && c.place.Fenced() && pc.TxStatus() == 'I' && !partly {
			return pgerr.NotRun(c.p.writer.Why().Error(), err)
		}
	}
	return err
}

// confirmPrimary asks a server that has refused to write whether it is no writer any more, or whether only the transaction was read-only. It asks only
// if nothing else is under way on c. It returns false if the server is no writer, or may be none.
func (c *conn) confirmPrimary() bool {
	pc := c.pg.PgConn()
	if c.maybeStandby && !pc.IsClosed() && !pc.IsBusy() && pc.TxStatus() == 'I' && !c.cancel.Pending() {
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		c.maybeStandby = !c.verify(ctx, true)
	}
	return !c.maybeStandby
}

// wrapError returns err together with what c knows about it, for example that the statement did not run or was cancelled.
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

// committed returns err, the last call's error. If something may have been committed before err, the returned error is not Retryable.
func (c *conn) committed(err error) error {
	if pgerr.DidNotRun(err) || !c.session.MayHaveCommitted() {
		return err
	}
	return partlyDone(err)
}

// partlyDone returns err for a call that may have committed something: the returned error is not Retryable.
func partlyDone(err error) error {
	if err == nil || !Retryable(err) {
		return err
	}
	return pgerr.PartlyDone(err)
}
