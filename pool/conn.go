package pool

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/upstream"
)

// conn is one connection. At any time a conn has one owner: the scheduler while it is idle, then a lease or a flight, then the goroutine that cleans
// or closes it. pgxpool sees every conn as acquired. Otherwise pgxpool's health check could take an idle connection for a moment, and the pool's dial,
// which uses pgxpool's Acquire, would get an idle connection and not a new one.
type conn struct {
	p       *Pool
	px      *pgxpool.Conn
	pg      *pgx.Conn
	expires time.Time // zero if it never expires
	place   sched.Conn
	reach   *upstream.Reach
	copies  pgx.CopyFromTracer // the user's tracer; nil if it is no CopyFromTracer
	types   memrows.Maps
	wire    *pgwire.Conn
	cancel  *pgcancel.Canceler
	lane    *lane.Lane // nil if no statement may ride on this connection

	// Only the owner uses these.
	session      isolation.Session
	maybeStandby bool           // the server has refused to write, and may be no writer any more
	lost         bool           // the connection ended, but not because the pool closed it; the pool's health has noted that
	silent       bool           // a ping had no answer within PingTimeout
	peek         *pgdial.Peeker // nil if the socket cannot be looked at
}

// expired reports whether c is fenced or past its lifetime. Then nobody gets c any more.
func (c *conn) expired(now time.Time) bool {
	return c.place.Fenced() || !c.expires.IsZero() && sched.Age(c.expires, now) > 0
}

// server returns what c leads to.
func (c *conn) server() net.Addr { return c.pg.PgConn().Conn().RemoteAddr() }

// clean reports whether c is open, runs nothing, is in no transaction, waits for no cancel request, and has neither expired nor a server in doubt.
func (c *conn) clean() bool {
	pc := c.pg.PgConn()
	return !pc.IsClosed() && !pc.IsBusy() && pc.TxStatus() == 'I' && !c.cancel.Pending() && !c.expired(time.Now()) && !c.maybeStandby
}

const (
	// goodbyeTimeout bounds the wait for the server's end after Terminate, and each step of release.go. A server that is alive needs one round trip.
	goodbyeTimeout = time.Second

	// graceToAbort bounds the write of Terminate to a connection that is being cut off, since its user may be stuck in a write to the same socket.
	graceToAbort = 20 * time.Millisecond
)

// closeUnless is deferred around calls of the user's code. If that code panics or calls runtime.Goexit, returned stays false, and c has no owner.
func (c *conn) closeUnless(returned *bool) {
	if !*returned {
		c.closeInBackground()
	}
}

// closeInBackground closes c. c's place is free only when the server has closed its end, so that the server never has more connections than the limit.
func (c *conn) closeInBackground() {
	c.cancel.Close()
	if c.silent {
		c.hangUp()
		return
	}
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

// hangUp closes c, on which a ping or a count of the fleet had no answer in time. Probably the server is gone, or something between it and us has
// forgotten c, as happens while Lambda has frozen the process. So the server's end is waited for no longer than for a connection that answers, and not at
// all if the pool has no other connection, since then c's place may be the only one. If the server has c's backend all the same, it has one more than
// MaxConns until it learns of the end: at once if it only stood still, or by its TCP keepalives.
func (c *conn) hangUp() {
	c.reach.Left()
	c.px.Hijack()
	s := c.p.sched.Stats()
	alone := s.Held <= 1 && s.Idle == 0
	drop := func() {
		pgdial.Raw(c.pg.PgConn().Conn()).Close()
		c.p.sched.Drop(&c.place)
	}
	c.p.sched.Leaves(&c.place)
	if alone {
		drop()
	}
	c.p.background("close", func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if !alone {
			bound, cancel := context.WithTimeout(ctx, goodbyeTimeout)
			awaitCleanup(bound, c.pg)
			cancel()
			drop()
		}
		if c.p.cfg.BeforeClose != nil {
			c.p.protect("BeforeClose", func() { c.p.cfg.BeforeClose(c.pg) })
		}
		awaitCleanup(ctx, c.pg) // pgx may still send a cancel request
	})
}

// letGo closes c for pgx and pgxpool, and waits until pgx has closed the socket.
func (c *conn) letGo(ctx context.Context) {
	_ = c.pg.Close(ctx) // does nothing if c is closed
	awaitCleanup(ctx, c.pg)
	c.px.Release() // pgxpool sees a closed connection and forgets it
}

// goodbye sends Terminate and waits until the server has closed its end. PostgreSQL does that when the backend process ends. pgx's Close does not wait
// for that. goodbye cancels a statement that still runs, since the server would finish the statement first.
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
// goroutine may write to and close a net.Conn. After Terminate and CloseWrite the user can send nothing. The server's end frees c's place.
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
		_ = nc.SetReadDeadline(time.Now()) // ends the user's read, if one is running
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
			_ = nc.SetReadDeadline(deadline) // set only after the cancel request, since the user's read has to end first
			_, _ = io.Copy(io.Discard, nc)
		}
	})
}

// closeAll closes connections that were taken from the scheduler, where they were idle.
func closeAll(places []*sched.Conn) {
	for _, place := range places {
		place.Owner.(*conn).closeInBackground()
	}
}

// dial opens one connection in the background and gives it to the scheduler. pgxpool's Acquire makes a new one, since pgxpool has none that is idle.
func (p *Pool) dial() {
	p.background("dial", func() {
		start := time.Now()
		done := false
		defer func() {
			if !done { // a panic below: the scheduler must learn that this dial is over
				p.sched.DialFailed(pgerr.ErrDialPanicked, sched.Lack{}, start)
				p.tellDial(start, nil, pgerr.ErrDialPanicked, sched.Lack{})
			}
		}()
		c, err := p.newConn()
		if err == nil && c.reach.Pooled() && c.reach.Isolates() {
			p.protect("look", func() { // the user's types may panic
				for _, st := range p.lanes.Catalog.TakePostponed() {
					c.session.Learn(st, c.session.Subject())
				}
			})
		}
		done = true
		if err != nil {
			err = pgdial.Explain(err, p.dialer.hosts, p.cfg.Upstream == UpstreamDirect)
			lacks := p.health.dialFailed(err, int(p.cfg.MaxConns))
			if p.ctx.Err() == nil { // while there are other connections no caller gets this error
				p.dialFailed(err, time.Since(start))
			}
			if lacks.Full {
				p.refusedAsFull()
			}
			p.sched.DialFailed(err, lacks, start)
			p.tellDial(start, nil, err, lacks)
			return
		}
		p.health.answers()
		defer p.tellDial(start, c.server(), nil, sched.Lack{})
		if until := p.sched.Dialed(&c.place, time.Since(start)); until.Err != nil && !until.Full {
			p.log.Info("lmipool: the server is back", safelog.Ms("after", time.Since(until.Since)))
		}
	})
}

// newConn dials one connection and prepares it for the pool.
func (p *Pool) newConn() (*conn, error) {
	c := &conn{p: p}
	p.sched.Begin(&c.place, c)
	g, px, err := p.dialer.dial(p.px)
	defer p.dialer.oldest.CompareAndSwap(g, nil)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c.px, c.pg, c.types.Closed = px, px.Conn(), p.ended.Conn
	c.reach, c.wire = g.reach, g.wire
	c.session.Open(p.sessions, isolation.Connection{PG: c.pg, Wire: c.wire, Reach: c.reach, IsFit: c.clean}, g.session)
	c.peek = pgdial.NewPeeker(c.pg.PgConn().Conn())
	c.cancel = pgcancel.Of(c.pg.PgConn())
	c.cancel.Opened(func() bool { return !c.wire.Busy() }) // a cancel request must not hit the pool's own statements
	if life := p.cfg.MaxConnLifetime; life > 0 {
		c.expires = now.Add(life)
		if j := p.cfg.MaxConnLifetimeJitter; j > 0 {
			c.expires = c.expires.Add(rand.N(j))
		}
	}
	if err = c.open(p.ctx); err == nil {
		if err = c.countIfOwed(); err == nil {
			return c, nil
		}
	}
	c.reach.Left()
	_ = c.pg.Close(p.ctx)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	c.letGo(ctx)
	return nil, err
}

// open prepares c, which has just been dialed: it reads the baseline, checks whether the server is a writer if the pool needs one, and makes c's lane.
// It costs a round trip, or two if there is an AfterConnect.
func (c *conn) open(ctx context.Context) (err error) {
	config := c.pg.Config()
	c.reach.Dialed(config.DefaultQueryExecMode)
	c.copies, _ = config.Tracer.(pgx.CopyFromTracer)
	rides := c.p.rides && c.p.cfg.ridesWith(c.reach.Mode, c.reach.ForPooler)
	if c.p.rides && !rides && c.p.cfg.Lanes != Auto {
		c.p.dialer.saidAlone.Do(func() {
			c.p.log.Warn("lmipool: BeforeConnect has chosen a default_query_exec_mode in which no read rides, and Lanes is not off", "lanes", c.p.cfg.Lanes, "mode", c.reach.Mode.String())
		})
	}
	ctx, cancel := context.WithTimeout(ctx, c.p.cfg.ConnectTimeout)
	defer cancel()
	if c.isRenamed() && !c.p.dialer.rename(ctx, c.pg.PgConn()) {
		return errNotRenamed
	}
	if !rides && !c.reach.Resets() {
		if c.p.cfg.Isolation != Off {
			c.p.dialer.saidExec.Do(func() { c.p.log.Warn(execModeIsolation) })
		}
		readOnly := ""
		if is := c.session.Baseline; is != nil {
			readOnly = is.ReadOnly
		}
		return c.p.writer.Admit(ctx, c.pg.PgConn(), true, readOnly)
	}
	if err := c.session.Read(ctx); err != nil {
		return err
	}
	is := c.session.Baseline
	if err := c.p.writer.Admit(ctx, c.pg.PgConn(), is.Standby || is.ReadOnly == "on", is.ReadOnly); err != nil {
		return err
	}
	c.session.Facts = c.p.lanes.Baselines.At(is.Database + "\x00" + is.Meaning)
	if rides {
		c.lane = lane.New(c.p.lanes, lane.Conn{PG: c.pg, Facts: c.session.Facts, Types: &c.types, Baseline: is, Expired: c.landsNow, Unnamed: !c.reach.Own()})
		c.session.Types, c.session.Kept = func() *memrows.Set { return c.types.Of(c.pg) }, c.lane.Kept()
		c.place.Shares = true
	}
	return nil
}
