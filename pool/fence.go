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

// A pool's connections lead to one server, and what one of them finds out holds for all.
//
// A *fence* is certain: the server is no writer now, and this pool writes. Whatever was dialed before is not used again: idle ones
// are closed at once, the others when they come back.
//
// A *loss* is a suspicion: a connection ended and it was not us. A terminated backend says nothing of the others, so they are only looked
// at before anybody gets them: a round trip each, once. Without it a write would be sent into a socket with nobody behind it, and
// its outcome be unknown for nothing.

// fence gives up every connection that was dialed before now, because of what c has found.
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

// Reset closes all connections: idle ones now, those in use when they come back. The pool goes on with new ones. It is for what the pool cannot
// find out itself, such as a setting of the role or the database that new sessions are to have.
func (p *Pool) Reset() { p.engine.reset() }

func (p pooled) reset() {
	idle, _ := p.sched.Fence(nil)
	closeAll(idle)
}

// suspected reports whether c was last heard from before the last loss.
func (c *conn) suspected() bool { return c.wire.Epoch() != c.p.health.losses.Load() }

// verify reports whether c's server answers, and is what it is to be. With refused it has just refused to write.
func (c *conn) verify(ctx context.Context, refused bool) bool {
	bound, cancel := context.WithTimeout(ctx, c.p.cfg.PingTimeout)
	defer cancel()
	defer c.cancel.Restore(c.cancel.WaitOnly())
	w := c.p.writer
	stands, ok := pgdial.Writes, true
	var err error
	if refused || w.Wanted() { // about as dear as a ping, and a standby answers those
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
		if bound.Err() != nil { // so would each of the others take as long
			closeAll(c.p.sched.TakeIdle(func(o *sched.Conn, _, _ int) bool { return o.Owner.(*conn).suspected() }))
		}
	case why != nil:
		c.p.fence(c, why)
	}
	return err == nil && ok && why == nil
}

// recordError takes from err what it says of c and of the server behind it. Its owner calls it, for each error.
func (c *conn) recordError(err error) error {
	pc := c.pg.PgConn()
	if broke := c.wire.Broke(); pgerr.IsLost(broke) && errors.Is(err, pgconn.ErrConnClosed) {
		err = fmt.Errorf("%w: %w", err, broke) // in the simple protocol pgx says no more than that
	}
	switch {
	case errors.Is(err, pgwire.ErrSimple): // nothing will change that, though pgx has it safe to retry
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

// confirmPrimary finds out whether a server that refuses to write is no writer any more, or whether it
// was asked for that: as soon as there is nothing else under way. It reports whether it may be written to, as far as is known.
func (c *conn) confirmPrimary() bool {
	pc := c.pg.PgConn()
	if c.maybeStandby && !pc.IsClosed() && !pc.IsBusy() && pc.TxStatus() == 'I' && !c.cancel.Pending() {
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		c.maybeStandby = !c.verify(ctx, true)
	}
	return !c.maybeStandby
}

// wrapError returns err with what the connection knows of it: that what was sent did not run, or that it was cancelled.
func (c *conn) wrapError(err error) error {
	if err == nil {
		return nil
	}
	if failed := c.wire.Failure(); failed != nil {
		if pgerr.IsLost(failed) {
			c.p.health.lost()
		}
		return failed
	}
	if told := c.wire.Declined(); told != nil && !pgerr.IsLost(err) { // else it was not the settings that were declined
		return fmt.Errorf("lmipool: With: %w", c.cancel.Explain(told(err)))
	}
	c.reach.Conflicts(err)
	return c.committed(c.recordError(c.session.WithoutArgument(c.cancel.Explain(err))))
}

// committed is err, of the last call, with what is known of what was committed before it.
func (c *conn) committed(err error) error {
	if pgerr.DidNotRun(err) || !c.session.MayHaveCommitted() {
		return err
	}
	return partlyDone(err)
}

// partlyDone is err for a call of which something may have been committed.
func partlyDone(err error) error {
	if err == nil || !Retryable(err) {
		return err
	}
	return pgerr.PartlyDone(err)
}
