package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/upstream"
)

// dial opens one connection for the queue, in the background. It is the only
// caller of pgxpool's Acquire, which therefore never finds an idle connection and
// always constructs one.
func (p *Pool) dial() {
	p.background("dial", func() {
		start := time.Now()
		done := false
		defer func() {
			if !done { // a panic below: the dial's place must not be lost
				p.sched.DialFailed(pgerr.ErrDialPanicked, sched.Lack{}, start)
			}
		}()
		c, err := p.newConn()
		if err == nil && c.reach.Pooled() {
			c.lookAtPostponed()
		}
		done = true
		if err != nil {
			p.failed(pgdial.Explain(err, p.hosts, p.cfg.Upstream == UpstreamDirect), start)
			return
		}
		p.health.answers()
		if until := p.sched.Dialed(&c.place, time.Since(start)); until.Err != nil && !until.Full {
			p.log.Info("lmipool: the server is back", "after", round(time.Since(until.Since)))
		}
	})
}

// newConn opens one connection, and makes it fit for what the pool does with it.
func (p *Pool) newConn() (*conn, error) {
	c := &conn{p: p, reach: p.recognition.Dial(), dial: pgdial.NewDial(p.login)}
	p.sched.Begin(&c.place, c)
	// No timeout on this ctx: pgxpool would go on dialing without us, and the
	// connection would be nobody's. Each step below has its own.
	px, err := p.connect(context.WithValue(p.ctx, dialingKey{}, c))
	if err = c.dial.Over(err); err != nil {
		return nil, err
	}
	now := time.Now()
	c.place.Opened(now)
	c.px, c.pg, c.types.Closed = px, px.Conn(), p.ended.Conn
	c.peek = pgdial.NewPeeker(c.pg.PgConn().Conn())
	c.cancel = pgcancel.Of(c.pg.PgConn())
	c.cancel.Opened()
	c.cancel.Ready(func() bool { return !c.wire.Busy() }) // nothing of ours is to be hit
	if life := p.cfg.MaxConnLifetime; life > 0 {
		c.expires = now.Add(life)
		if j := p.cfg.MaxConnLifetimeJitter; j > 0 {
			c.expires = c.expires.Add(rand.N(j))
		}
	}
	if err := c.open(p.ctx); err != nil {
		c.abandon()
		return nil, err
	}
	return c, nil
}

// connect has pgxpool dial.
func (p *Pool) connect(ctx context.Context) (c *pgxpool.Conn, err error) {
	for range upstream.MaxModes {
		if p.cfg.BeforeConnect == nil {
			c, err = p.px.Acquire(ctx)
		} else {
			c, err = pgdial.WithPasswords(ctx, p.px.Acquire)
		}
		if !errors.Is(err, upstream.ErrOtherMode) {
			break
		}
	}
	return c, err
}

// shortDial reports whether the TCP part of a dial is to be short: if its server was lost or is away, but for each fourth
// in a row.
func (p *Pool) shortDial() bool { return p.health.shortDial.Load() && p.sched.FailedDials()%4 != 3 }

// abandon closes c, which has never been the pool's.
func (c *conn) abandon() {
	c.reach.Left()
	_ = c.pg.Close(c.p.ctx)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	c.letGo(ctx)
}

// open makes c, which has been dialed, fit for what the pool does with it. It costs a
// round trip, or two if there is an AfterConnect.
func (c *conn) open(ctx context.Context) (err error) {
	config := c.pg.Config()
	c.reach.Dialed(config.DefaultQueryExecMode)
	c.copies, _ = config.Tracer.(pgx.CopyFromTracer)
	rides := c.p.rides && c.p.cfg.ridesWith(c.reach.Mode(), c.reach.ForPooler())
	ctx, cancel := context.WithTimeout(ctx, c.p.cfg.ConnectTimeout)
	defer cancel()
	if !rides && !c.reach.Resets() {
		if c.p.cfg.Isolation != IsolationOff {
			c.p.saidExecMode.Do(func() { c.p.log.Warn(execModeIsolation) })
		}
		return c.admit(ctx, true)
	}
	heard := c.heardAll()
	if c.session == nil || heard != nil { // AfterConnect may have changed what was read
		if c.session, err = session.Read(ctx, c.pg, heard, c.reach.Own() && c.reach.Isolates()); err != nil {
			return fmt.Errorf("lmipool: reading what the session is like: %w", err)
		}
	} else if c.reach.Own() && c.reach.Isolates() {
		c.wire.Queue(session.LeaveWitness())
	}
	if heard != nil && c.reach.Isolates() {
		for _, sql := range heard.Queries {
			c.asks = append(c.asks, c.p.lanes.catalog.Find(sql, ""))
		}
		if heard.Unsure != "" {
			c.p.cannotReset(heard.Unsure)
		}
	}
	if err := c.admit(ctx, c.session.Standby || c.session.ReadOnly == "on"); err != nil {
		return err
	}
	c.base = c.p.lanes.baselines.At(c.session.Database + "\x00" + c.session.Meaning)
	if rides {
		c.lane = &lane{guard: &guard{Guard: c.session.Guard()}, baseline: c.session.Meaning, prepared: make(map[any]*prepared), unnamed: !c.reach.Own()}
		c.place.Shares = true
	}
	return nil
}

// admit is the last look at c, whose server is asked how it stands if ask says that this may matter.
func (c *conn) admit(ctx context.Context, ask bool) error {
	readOnly := ""
	if c.session != nil {
		readOnly = c.session.ReadOnly
	}
	return c.p.writer.Admit(ctx, c.pg.PgConn(), ask, readOnly)
}

// failed logs a failed dial: the caller that hears of it may be none, if there
// are other connections to wait for. A server that stays full, or away, is said once.
func (p *Pool) failed(err error, start time.Time) {
	lacks := p.health.dialFailed(err, int(p.cfg.MaxConns))
	if p.ctx.Err() == nil && !p.sched.IsKnown(lacks) {
		p.log.Warn("lmipool: dial failed", "error", err, "took", round(time.Since(start)))
	}
	p.sched.DialFailed(err, lacks, start)
}

// pgxpoolConfig is what the pgxpool below gets. What lmipool decides is turned off
// there: pgxpool opens and closes connections, and MaxConns is a second lock on
// the door.
func (p *Pool) pgxpoolConfig(px *pgxpool.Config) *pgxpool.Config {
	c := &p.cfg
	px.MaxConns = c.MaxConns
	if c.ApplicationName != "" && px.ConnConfig.RuntimeParams["application_name"] == "" {
		px.ConnConfig.RuntimeParams["application_name"] = c.ApplicationName
	}
	px.AfterConnect = p.closing(p.recognising(timed(c.ConnectTimeout, hook(&p.workers, "AfterConnect", c.AfterConnect))))
	if c.Plain {
		px.MinConns, px.MinIdleConns = c.MinConns, c.MinIdleConns
		px.MaxConnLifetime, px.MaxConnLifetimeJitter = max(0, c.MaxConnLifetime), c.MaxConnLifetimeJitter
		px.MaxConnIdleTime = c.MaxConnIdleTime
		if c.MaxConnIdleTime < 0 {
			px.MaxConnIdleTime = forever
		}
		px.HealthCheckPeriod, px.PingTimeout = c.HealthCheckPeriod, c.PingTimeout
		px.ShouldPing = c.ShouldPing
		px.BeforeConnect = timed(c.ConnectTimeout, hook(&p.workers, "BeforeConnect", c.BeforeConnect))
		px.PrepareConn = c.PrepareConn
		px.AfterRelease, px.BeforeClose = c.AfterRelease, c.BeforeClose
		px.ConnConfig.Tracer = c.Tracer
		return px
	}
	px.MinConns, px.MinIdleConns = 0, 0
	px.MaxConnLifetime = 0 // unlimited
	px.MaxConnIdleTime, px.HealthCheckPeriod = forever, forever
	px.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	// pgxpool looks for AcquireTracer and ReleaseTracer here, and would call
	// them for our dials. The connections get the tracer one by one instead.
	px.ConnConfig.Tracer = nil
	before := timed(c.ConnectTimeout, hook(&p.workers, "BeforeConnect", c.BeforeConnect))
	px.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		cc.Tracer = c.Tracer
		cc.ConnectTimeout = p.login.Next()
		pgxs := reflect.ValueOf(cc.BuildContextWatcherHandler).Pointer()
		dialing, ok := ctx.Value(dialingKey{}).(*conn)
		if !ok {
			return errNotOurs
		}
		dialing.reach.Prepare(cc)
		if before != nil {
			if err := before(ctx, cc); err != nil {
				return pgerr.OfHook(err)
			}
		}
		if hooks := c.AfterConnect != nil || cc.AfterConnect != nil || cc.ValidateConnect != nil; hooks && (p.rides || c.Isolation != IsolationOff) {
			cc.ValidateConnect = dialing.hearing(cc.ValidateConnect)
		}
		if cc.Tracer != nil {
			cc.Tracer = tracer{multitracer.New(cc.Tracer), p}
		}
		dialing.dial.Guard(cc, p.catchPanic)
		p.writer.Validate(cc)
		dialing.dial.Bound(cc)
		// The connection string cannot name another handler than pgx's, the hook can.
		p.cancels.Install(cc, pgcancel.Options{
			Wait: c.CancelWait, UserOwn: reflect.ValueOf(cc.BuildContextWatcherHandler).Pointer() != pgxs,
			Later: p.recognition.Asks(), Go: p.background, Dialing: isDialing,
		})
		build := cc.BuildFrontend
		cc.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend { // once for each host that is tried
			dialing.wire = pgwire.New(r, w, &p.health.losses)
			return build(dialing.wire, dialing.wire)
		}
		return pgdial.TryPassword(ctx, cc)
	}
	return px
}

// recognising has a new connection be asked who answers it before AfterConnect.
func (p *Pool) recognising(after func(context.Context, *pgx.Conn) error) func(context.Context, *pgx.Conn) error {
	if !p.recognition.Asks() {
		return after
	}
	return func(ctx context.Context, pg *pgx.Conn) error {
		c, ok := ctx.Value(dialingKey{}).(*conn)
		if ok {
			if err := c.recognise(ctx, pg); err != nil {
				return err
			}
		}
		if after == nil {
			return nil
		}
		err := after(ctx, pg)
		if err != nil && ok { // here, since who dials may be gone
			c.reach.Left()
		}
		return err
	}
}

// recognise asks, as the very first thing on a new connection, who answers, and keeps what the
// session is like, which is read in the same round trip. Without names, and in a transaction of
// its own, so that it leaves nothing in a session that may be somebody else's.
func (c *conn) recognise(ctx context.Context, pg *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, c.p.cfg.ConnectTimeout)
	defer cancel()
	defer c.wire.PauseRecord()() // this is not what a hook says
	s, err := session.Read(ctx, pg, nil, false)
	if err != nil {
		return fmt.Errorf("lmipool: reading what the session is like: %w", err)
	}
	pgcancel.Of(pg.PgConn()).Begun()
	c.session = s
	return c.reach.Answered(s.Backend, pg.PgConn().PID(), pg.PgConn().Conn().RemoteAddr())
}

// lookAtPostponed has c, which is new, ask what others could not.
func (c *conn) lookAtPostponed() {
	if c.reach.Isolates() {
		c.p.protect("look", func() { // a type of the user's may panic
			for _, st := range c.p.lanes.catalog.TakePostponed() {
				c.learn(st)
			}
		})
	}
}

// newRecognition is for a pool with cc. auto: nobody has said what is upstream. Where there is nothing that hangs on it, nobody is asked.
func (p *Pool) newRecognition(cc *pgx.ConnConfig, auto bool) *upstream.Recognition {
	c := upstream.Config{Isolation: p.cfg.Isolation != IsolationOff, Replace: p.sched.Replace, Log: p.log}
	switch {
	case p.cfg.Upstream.shares():
		c.Said = upstream.Pooled
	case !auto:
		c.Said = upstream.Direct
	default:
		c.Asks = !p.cfg.Plain && (p.rides || c.Isolation)
		if m := pgdial.PoolerMode(cc); c.Asks && cc.DescriptionCacheCapacity > 0 && m != cc.DefaultQueryExecMode {
			c.PoolerMode = m
		}
	}
	return upstream.New(c)
}

// closing waits, when the pool is shut down, until pgx has closed the socket of a connection that after has failed on.
// pgxpool does not wait for that, so Shutdown would return before.
func (p *Pool) closing(after func(context.Context, *pgx.Conn) error) func(context.Context, *pgx.Conn) error {
	if after == nil {
		return nil
	}
	return func(ctx context.Context, c *pgx.Conn) error {
		err := after(ctx, c)
		if err != nil && p.ctx.Err() != nil && c.IsClosed() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			awaitCleanup(ctx, c)
		}
		return err
	}
}

// dialingKey is where BeforeConnect finds the conn that is being dialed.
type dialingKey struct{}

func isDialing(ctx context.Context) bool { return ctx.Value(dialingKey{}) != nil }

// errNotOurs is of a dial that pgxpool would make for itself. It makes none.
var errNotOurs = errors.New("lmipool: pgxpool dials for nobody")
