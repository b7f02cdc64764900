package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/session"
)

// configure has px dial as d says. What lmipool decides is turned off there, unless it is to be plain: pgxpool opens and
// closes connections, and MaxConns is a second lock on the door.
func (d *dialer) configure(px *pgxpool.Config) {
	c := d.cfg
	px.MaxConns = c.MaxConns
	if c.ApplicationName != "" && px.ConnConfig.RuntimeParams["application_name"] == "" {
		px.ConnConfig.RuntimeParams["application_name"] = c.ApplicationName
	}
	before := hook(d.workers, "BeforeConnect", c.ConnectTimeout, c.BeforeConnect)
	px.AfterConnect = d.afterConnect(hook(d.workers, "AfterConnect", c.ConnectTimeout, c.AfterConnect))
	if c.Plain {
		px.MinConns, px.MinIdleConns = c.MinConns, c.MinIdleConns
		px.MaxConnLifetime, px.MaxConnLifetimeJitter = max(0, c.MaxConnLifetime), c.MaxConnLifetimeJitter
		px.MaxConnIdleTime = c.MaxConnIdleTime
		if c.MaxConnIdleTime < 0 {
			px.MaxConnIdleTime = forever
		}
		px.HealthCheckPeriod, px.PingTimeout = c.HealthCheckPeriod, c.PingTimeout
		px.ShouldPing, px.BeforeConnect, px.PrepareConn = c.ShouldPing, before, c.PrepareConn
		px.AfterRelease, px.BeforeClose = c.AfterRelease, c.BeforeClose
		px.ConnConfig.Tracer, px.ConnConfig.ConnectTimeout = c.Tracer, c.ConnectTimeout // which does not grow
		return
	}
	if pgdial.InAWS(px.ConnConfig) && !d.told.dial {
		px.ConnConfig.DialFunc = pgdial.AWSDialer().DialContext // BeforeConnect may have another
	}
	px.PrepareConn, px.AfterRelease, px.BeforeClose = nil, nil, nil
	px.MinConns, px.MinIdleConns = 0, 0
	px.MaxConnLifetime = 0 // unlimited
	px.MaxConnIdleTime, px.HealthCheckPeriod = forever, forever
	px.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	// pgxpool looks for AcquireTracer and ReleaseTracer here, and would call them for our dials. The connections get the tracer one by one instead.
	px.ConnConfig.Tracer = nil
	px.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		g, ok := ctx.Value(dialingKey{}).(*dialing)
		if !ok {
			return errNotOurs
		}
		cc.Tracer, cc.ConnectTimeout = c.Tracer, d.login.Next()
		g.reach.Prepare(cc)
		handler := cc.BuildContextWatcherHandler
		if before != nil {
			if err := before(ctx, cc); err != nil {
				return pgerr.OfHook(err)
			}
		}
		d.wrap(cc, g, d.told.handler || !sameCode(cc.BuildContextWatcherHandler, handler))
		return pgdial.TryPassword(ctx, cc)
	}
}

// sameCode reports whether two functions have the same code. They cannot be compared otherwise.
func sameCode[F any](a, b F) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// errNotOurs is of a dial that pgxpool would make for itself. It makes none.
var errNotOurs = errors.New("lmipool: pgxpool dials for nobody")

// wrap puts what is lmipool's around what BeforeConnect has made of cc. It may have a handler of the user's own for ctxs that end.
func (d *dialer) wrap(cc *pgx.ConnConfig, g *dialing, ownHandler bool) {
	if next := cc.ValidateConnect; d.listens && (d.cfg.AfterConnect != nil || cc.AfterConnect != nil || next != nil) {
		cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error { // the first of what may send something
			g.wire.Strayed()
			g.wire.Record() // of each host that is tried
			if next == nil {
				return nil
			}
			return next(ctx, pc)
		}
	}
	if cc.Tracer != nil {
		cc.Tracer = tracer{multitracer.New(cc.Tracer), d.workers}
	}
	g.Guard(cc, d.workers.catchPanic)
	d.writer.Validate(cc)
	g.Bound(cc)
	d.cancels.Install(cc, pgcancel.Options{Wait: d.cfg.CancelWait, UserOwn: ownHandler, Later: d.recognition.Asks(), Go: d.workers.background, Dialing: isDialing})
	build := cc.BuildFrontend
	cc.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend { // once for each host that is tried
		g.wire = pgwire.New(r, w, &d.health.losses)
		return build(g.wire, g.wire)
	}
}

// afterConnect has a new connection be recognised before the user's hook.
func (d *dialer) afterConnect(hook func(context.Context, *pgx.Conn) error) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, pg *pgx.Conn) (err error) {
		g, ok := ctx.Value(dialingKey{}).(*dialing) // not if it is plain
		if ok && d.recognition.Asks() {
			err = d.recognise(ctx, g, pg)
		}
		if err == nil && hook != nil {
			if err = hook(ctx, pg); err != nil && ok { // who dials may be gone
				g.reach.Left()
			}
		}
		if err != nil && d.ctx.Err() != nil && pg.IsClosed() { // pgxpool does not wait for that, so Shutdown would return before
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			awaitCleanup(ctx, pg)
		}
		return err
	}
}

// recognise asks, as the very first thing on a new connection, who answers, and keeps what the session is like, which is read in the same round trip.
// Without names, and in a transaction of its own, so that it leaves nothing in a session that may be somebody else's.
func (d *dialer) recognise(ctx context.Context, g *dialing, pg *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	defer g.wire.PauseRecord()() // this is not what a hook says
	s, err := session.Read(ctx, pg, nil, false)
	if err != nil {
		return fmt.Errorf("lmipool: reading what the session is like: %w", err)
	}
	pgcancel.Of(pg.PgConn()).Begun()
	g.session = s
	return g.reach.Answered(s.Backend, pg.PgConn().PID(), pg.PgConn().Conn().RemoteAddr())
}

// hook is f, if there is one, which pgxpool calls without an end: it gets one, and a panic of it is its error.
func hook[T any](w *workers, name string, within time.Duration, f func(context.Context, T) error) func(context.Context, T) error {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, v T) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		return w.catchPanic(name, func() error { return f(ctx, v) })
	}
}

// closeTimeout bounds how long a connection that is being closed may hold its place: as long as pgx itself tries (pgconn's asyncClose).
const closeTimeout = 15 * time.Second

// awaitCleanup waits until pgx, which may still be cancelling and draining, has closed the socket of a closed connection.
func awaitCleanup(ctx context.Context, c *pgx.Conn) {
	select {
	case <-c.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}
