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
		if err == nil && c.reach == reachPooled {
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
	c := &conn{p: p, dial: pgdial.NewDial(p.login)}
	p.sched.Begin(&c.place, c)
	// No timeout on this ctx: pgxpool would go on dialing without us, and the
	// connection would be nobody's. Each step below has its own.
	px, err := p.connect(context.WithValue(p.ctx, dialingKey{}, c))
	if err = c.dial.Over(err); err != nil {
		return nil, err
	}
	now := time.Now()
	c.place.Opened(now)
	c.px, c.pg, c.types.Closed = px, px.Conn(), p.ended.closed
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
	for range maxModes {
		if p.cfg.BeforeConnect == nil {
			c, err = p.px.Acquire(ctx)
		} else {
			c, err = pgdial.WithPasswords(ctx, p.px.Acquire)
		}
		if !errors.Is(err, errOtherMode) {
			break
		}
	}
	return c, err
}

// shortDial reports whether the TCP part of a dial is to be short: if its server was lost or is away, but for each fourth
// in a row.
func (p *Pool) shortDial() bool { return p.health.hasty.Load() && p.sched.FailedDials()%4 != 3 }

// abandon closes c, which has never been the pool's.
func (c *conn) abandon() {
	c.p.recognition.left(c)
	_ = c.pg.Close(c.p.ctx)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	c.letGo(ctx)
}

// open makes c, which has been dialed, fit for what the pool does with it. It costs a
// round trip, or two if there is an AfterConnect.
func (c *conn) open(ctx context.Context) (err error) {
	config := c.pg.Config()
	c.mode = config.DefaultQueryExecMode
	c.copies, _ = config.Tracer.(pgx.CopyFromTracer)
	switch r := &c.p.recognition; {
	case r.asks: // it was recognised
	case c.p.cfg.Upstream.shares():
		c.reach = reachPooled
	case r.said:
		c.reach = reachDirect
	}
	rides := c.p.rides && c.p.cfg.ridesWith(c.mode, c.forPooler)
	ctx, cancel := context.WithTimeout(ctx, c.p.cfg.ConnectTimeout)
	defer cancel()
	if !rides && !c.resets() {
		if c.p.cfg.Isolation != IsolationOff {
			c.p.saidExecMode.Do(func() { c.p.log.Warn(execModeIsolation) })
		}
		return c.admit(ctx, true)
	}
	heard := c.heardAll()
	if c.session == nil || heard != nil { // AfterConnect may have changed what was read
		if c.session, err = session.Read(ctx, c.pg, heard, c.own() && c.isolates()); err != nil {
			return fmt.Errorf("lmipool: reading what the session is like: %w", err)
		}
	} else if c.own() && c.isolates() {
		c.wire.Queue(session.LeaveWitness())
	}
	if heard != nil && c.isolates() {
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
		c.lane = &lane{guard: &guard{Guard: c.session.Guard()}, baseline: c.session.Meaning, prepared: make(map[any]*prepared), unnamed: !c.own()}
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
	lacks := p.lackOf(err)
	if p.ctx.Err() == nil && !p.sched.IsKnown(lacks) {
		p.log.Warn("lmipool: dial failed", "error", err, "took", round(time.Since(start)))
	}
	if lacks.Err != nil && !lacks.Full {
		p.health.hasty.Store(true)
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
	px.AfterConnect = p.closing(p.recognising(timed(c.ConnectTimeout, hook(p, "AfterConnect", c.AfterConnect))))
	if c.Plain {
		px.MinConns, px.MinIdleConns = c.MinConns, c.MinIdleConns
		px.MaxConnLifetime, px.MaxConnLifetimeJitter = max(0, c.MaxConnLifetime), c.MaxConnLifetimeJitter
		px.MaxConnIdleTime = c.MaxConnIdleTime
		if c.MaxConnIdleTime < 0 {
			px.MaxConnIdleTime = forever
		}
		px.HealthCheckPeriod, px.PingTimeout = c.HealthCheckPeriod, c.PingTimeout
		px.ShouldPing = c.ShouldPing
		px.BeforeConnect = timed(c.ConnectTimeout, hook(p, "BeforeConnect", c.BeforeConnect))
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
	before := timed(c.ConnectTimeout, hook(p, "BeforeConnect", c.BeforeConnect))
	px.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		cc.Tracer = c.Tracer
		cc.ConnectTimeout = p.login.Next()
		pgxs := reflect.ValueOf(cc.BuildContextWatcherHandler).Pointer()
		dialing, ok := ctx.Value(dialingKey{}).(*conn)
		if !ok {
			return errNotOurs
		}
		p.recognition.prepareFor(dialing, cc)
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
			Later: p.recognition.asks, Go: p.background, Dialing: isDialing,
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

// forever is a hundred years: pgxpool has no "never" for some of its periods.
const forever = 100 * 365 * 24 * time.Hour
