package pool

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/internal/sched"
)

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
