package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/companion"
	"github.com/lmipool/lmipool/internal/fleet"
	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sslmode"
	"github.com/lmipool/lmipool/internal/upstream"
)

// appName is the setting by which the environments of a fleet are told apart.
const appName = "application_name"

// dialer dials through pgxpool, and configures each dial.
type dialer struct {
	cfg         *Config
	told        told
	id          fleet.ID
	ctx         context.Context // ends when the pool is closed
	workers     *workers
	health      *health
	writer      *pgdial.Writer
	login       *pgdial.LoginTime
	cancels     *pgcancel.Limiter
	recognition *upstream.Recognition
	hosts       []string                // the hosts that are dialed, for error texts
	oldest      atomic.Pointer[dialing] // a dial under way that began before the others, for error texts; nil if there is none or it has ended
	listens     bool                    // the pool has to know what the user's hooks send
	saidExec    sync.Once               // logs once that BeforeConnect has chosen QueryExecModeExec
	saidAlone   sync.Once               // logs once that BeforeConnect has chosen a mode in which no read rides, and Lanes is not off
	companions  *companion.Pools
}

// dialing is a dial under way. The ctx with which pgxpool and pgx call the hooks has the dialing as its value of dialingKey.
type dialing struct {
	*pgdial.Dial
	reach   *upstream.Reach
	wire    *pgwire.Conn      // the connection to the host that was tried last
	session *session.Baseline // what the session was like before any hook; nil if it was not read
}

type dialingKey struct{}

func isDialing(ctx context.Context) bool { return ctx.Value(dialingKey{}) != nil }

// told says which settings of dials come from the user, and are not defaults, and who has chosen the sslmode.
type told struct {
	timeout  bool // ConnectTimeout
	upstream bool // Upstream
	handler  bool // ConnConfig.BuildContextWatcherHandler, which says what happens when a ctx ends

	sslmode   sslmode.Mode
	sslmodeBy string // who has chosen it
}

// newDialer makes the dialer of the pool id, which dials with cc. rides says whether the pool's reads may ride.
func newDialer(ctx context.Context, cfg *Config, id fleet.ID, cc *pgx.ConnConfig, told told, rides bool, w *workers, h *health, s *sched.Scheduler) *dialer {
	d := &dialer{cfg: cfg, told: told, id: id, ctx: ctx, workers: w, health: h, listens: rides || cfg.Isolation != Off}
	d.login = pgdial.NewLoginTime(cc.ConnectTimeout, told.timeout, func() bool {
		return h.shortDial.Load() && s.Stats().FailedInARow%4 != 3 // each fourth dial has the whole time, since a server far away may need it
	})
	d.cancels = pgcancel.NewLimiter(int(cfg.MaxConns), ctx.Done())
	d.writer = pgdial.NewWriter(cc, cfg.Upstream == UpstreamRDSProxy)
	for _, host := range sslmode.Hosts(&cc.Config) {
		d.hosts = append(d.hosts, host.Host)
	}
	known := upstream.Config{Isolation: cfg.Isolation != Off, Replace: s.Replace, Log: w.log}
	switch {
	case cfg.Upstream.shares():
		known.Said = upstream.Pooled
	case told.upstream:
		known.Said = upstream.Direct
	default:
		known.Asks = cfg.Plain != On && d.listens // otherwise it would change nothing to know whether there is a pooler
		if m := pgdial.PoolerMode(cc); known.Asks && cc.DescriptionCacheCapacity > 0 && m != cc.DefaultQueryExecMode {
			known.PoolerMode = m
		}
	}
	d.recognition = upstream.New(known)
	return d
}

// dial dials with px. Its ctx has no timeout: pgxpool would go on dialing, and nobody would own the connection. Each part of a dial has its own timeout.
func (d *dialer) dial(px *pgxpool.Pool) (g *dialing, c *pgxpool.Conn, err error) {
	g = &dialing{Dial: pgdial.NewDial(d.login), reach: d.recognition.Dial()}
	d.oldest.CompareAndSwap(nil, g)
	ctx := context.WithValue(d.ctx, dialingKey{}, g)
	for range upstream.MaxModes {
		if d.cfg.BeforeConnect == nil {
			c, err = px.Acquire(ctx)
		} else {
			c, err = pgdial.WithPasswords(ctx, px.Acquire)
		}
		if !errors.Is(err, upstream.ErrOtherMode) {
			break
		}
	}
	return g, c, g.Over(err)
}

// configure makes px dial as d says. Without Config.Plain pgxpool only dials, closes, and checks MaxConns a second time.
func (d *dialer) configure(px *pgxpool.Config) {
	c := d.cfg
	px.ConnConfig.RuntimeParams[appName] = c.ApplicationName
	px.AfterConnect = d.afterConnect(hook(d.workers, "AfterConnect", c.ConnectTimeout, c.AfterConnect))
	if c.Plain == On {
		d.configurePlain(px)
		px.MaxConns, px.MinConns, px.MinIdleConns = c.MaxConns, c.MinConns, c.MinIdleConns
		return
	}
	px.MaxConns = c.MaxConns
	before := d.before()
	if pgdial.InAWS(px.ConnConfig) {
		px.ConnConfig.DialFunc = pgdial.LookAfter(px.ConnConfig.DialFunc) // BeforeConnect may set another
	}
	px.PrepareConn, px.AfterRelease, px.BeforeClose = nil, nil, nil
	px.MinConns, px.MinIdleConns, px.MaxConnLifetime = 0, 0, 0 // a lifetime of 0 has no limit
	px.MaxConnIdleTime, px.HealthCheckPeriod = forever, forever
	px.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	px.ConnConfig.Tracer = nil // otherwise pgxpool would trace each dial as an acquire; BeforeConnect gives the tracer to each connection
	px.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		g, ok := ctx.Value(dialingKey{}).(*dialing)
		if !ok {
			return errors.New("lmipool: pgxpool dials for nobody") // with these settings pgxpool makes no dial of its own
		}
		cc.Tracer, cc.ConnectTimeout = c.Tracer, d.login.Next()
		g.reach.Prepare(cc)
		handler := cc.BuildContextWatcherHandler
		if before != nil {
			if err := before(ctx, cc); err != nil {
				return pgerr.OfHook(err)
			}
		}
		d.wrap(cc, g, d.told.handler || !pgdial.SameFunc(cc.BuildContextWatcherHandler, handler))
		return pgdial.TryPassword(ctx, cc)
	}
}

// configurePlain sets what pgxpool does by itself where lmipool adds nothing, but not how many connections it has.
func (d *dialer) configurePlain(px *pgxpool.Config) {
	c := d.cfg
	px.MaxConnLifetime, px.MaxConnLifetimeJitter = max(0, c.MaxConnLifetime), c.MaxConnLifetimeJitter
	px.MaxConnIdleTime = c.MaxConnIdleTime
	if c.MaxConnIdleTime < 0 {
		px.MaxConnIdleTime = forever
	}
	px.HealthCheckPeriod, px.PingTimeout = c.HealthCheckPeriod, c.PingTimeout
	px.ShouldPing, px.BeforeConnect, px.PrepareConn = c.ShouldPing, d.before(), c.PrepareConn
	px.AfterRelease, px.BeforeClose = c.AfterRelease, c.BeforeClose
	px.ConnConfig.Tracer, px.ConnConfig.ConnectTimeout = c.Tracer, c.ConnectTimeout // the timeout does not grow with each try
}

// before returns the user's BeforeConnect, or nil if there is none.
func (d *dialer) before() func(context.Context, *pgx.ConnConfig) error {
	return d.keepsName(hook(d.workers, "BeforeConnect", d.cfg.ConnectTimeout, d.cfg.BeforeConnect))
}

// keepsName returns before, after which the application_name has d's id again. It returns nil for nil.
func (d *dialer) keepsName(before func(context.Context, *pgx.ConnConfig) error) func(context.Context, *pgx.ConnConfig) error {
	if before == nil {
		return nil
	}
	return func(ctx context.Context, cc *pgx.ConnConfig) error {
		err := before(ctx, cc)
		if cc.RuntimeParams == nil {
			cc.RuntimeParams = make(map[string]string)
		}
		cc.RuntimeParams[appName] = d.id.Name(cc.RuntimeParams[appName])
		return err
	}
}

// wrap adds to cc, after BeforeConnect, what lmipool does on the connection. If ownHandler is true, the user's code decides what the end of a ctx does.
func (d *dialer) wrap(cc *pgx.ConnConfig, g *dialing, ownHandler bool) {
	if next := cc.ValidateConnect; d.listens && (d.cfg.AfterConnect != nil || cc.AfterConnect != nil || next != nil) {
		cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error { // runs before any hook that may send something, once for each host
			g.wire.Strayed()
			g.wire.Record()
			if next == nil {
				return nil
			}
			return next(ctx, pc)
		}
	}
	if cc.Tracer != nil {
		cc.Tracer = tracer{multitracer.New(cc.Tracer), d.workers}
	}
	g.Guard(cc, d.workers.isolate)
	d.writer.Validate(cc)
	g.Bound(cc)
	d.cancels.Install(cc, pgcancel.Options{Wait: d.cfg.CancelWait, UserOwn: ownHandler, Later: d.recognition.Asks(), Go: d.workers.background, Over: onlyIf(d.workers.observers != nil, d.workers.tellCancel), Dialing: isDialing})
	build := cc.BuildFrontend
	cc.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend { // runs once for each host that is tried
		g.wire = pgwire.New(r, w, &d.health.losses)
		return build(g.wire, g.wire)
	}
}

// afterConnect returns an AfterConnect that asks a new connection whether there is a pooler, if that is not known, and then runs the user's hook, if any.
func (d *dialer) afterConnect(hook func(context.Context, *pgx.Conn) error) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, pg *pgx.Conn) (err error) {
		g, ok := ctx.Value(dialingKey{}).(*dialing) // ok is false with Config.Plain
		if ok && d.recognition.Asks() {
			err = d.recognise(ctx, g, pg)
		}
		if err == nil && hook != nil {
			if err = hook(ctx, pg); err != nil && ok { // the dial is over, and its connection does not count any more
				g.reach.Left()
			}
		}
		if err != nil && d.ctx.Err() != nil && pg.IsClosed() { // pgxpool does not wait for the socket's end, so Shutdown would return before it
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			awaitCleanup(ctx, pg)
		}
		return err
	}
}

// recognise asks on a new connection, before anything else, which server process answers, and reads in the same round trip what the session is like.
// It uses unnamed statements in a transaction of its own, so that it leaves nothing in a session that may be another client's.
func (d *dialer) recognise(ctx context.Context, g *dialing, pg *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	defer g.wire.PauseRecord()() // only what hooks send is recorded
	s, err := session.Read(ctx, pg, nil, false)
	if err != nil {
		return fmt.Errorf("lmipool: reading what the session is like: %w", err)
	}
	pgcancel.Of(pg.PgConn()).Begun()
	g.session = s
	return g.reach.Answered(s.Backend, pg.PgConn().PID(), pg.PgConn().Conn().RemoteAddr())
}

// hook returns f with a ctx that ends after within, since pgxpool's ctx does not end, and with an error for a panic or Goexit. It returns nil for nil.
func hook[T any](w *workers, name string, within time.Duration, f func(context.Context, T) error) func(context.Context, T) error {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, v T) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		return w.isolate(name, func() error { return f(ctx, v) })
	}
}

// closeTimeout bounds how long a connection that is being closed may count against the limit. pgx itself tries for that long (pgconn's asyncClose).
const closeTimeout = 15 * time.Second

// awaitCleanup waits until pgx has closed the socket of the closed connection c. pgx may still send a cancel request and read the answer before that.
func awaitCleanup(ctx context.Context, c *pgx.Conn) {
	select {
	case <-c.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}

// tracer calls the user's Tracer, but not for the pool's own queries. If the Tracer panics while a connection is opened, that is logged.
type tracer struct {
	*multitracer.Tracer
	w *workers
}

func (t tracer) TraceQueryStart(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if isolation.IsSilent(ctx) {
		return ctx
	}
	return t.Tracer.TraceQueryStart(ctx, c, d)
}

func (t tracer) TraceQueryEnd(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryEndData) {
	if !isolation.IsSilent(ctx) {
		t.Tracer.TraceQueryEnd(ctx, c, d)
	}
}

func (t tracer) TraceConnectStart(ctx context.Context, d pgx.TraceConnectStartData) (traced context.Context) {
	traced = ctx
	_ = t.w.isolate("TraceConnectStart", func() error { traced = t.Tracer.TraceConnectStart(ctx, d); return nil })
	return traced
}

func (t tracer) TraceConnectEnd(ctx context.Context, d pgx.TraceConnectEndData) {
	_ = t.w.isolate("TraceConnectEnd", func() error { t.Tracer.TraceConnectEnd(ctx, d); return nil })
}
