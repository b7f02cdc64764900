package pool

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sslmode"
	"github.com/lmipool/lmipool/internal/upstream"
)

// dialer has pgxpool dial, and says with what.
type dialer struct {
	cfg         *Config
	told        told
	ctx         context.Context // ends when the pool is closed
	workers     *workers
	health      *health
	writer      *pgdial.Writer
	login       *pgdial.LoginTime
	cancels     *pgcancel.Limiter
	recognition *upstream.Recognition
	hosts       []string  // what is dialed, for what errors say
	listens     bool      // what hooks send has to be known
	saidExec    sync.Once // that BeforeConnect has chosen QueryExecModeExec is logged once
}

// dialing is one connection on its way: pgxpool and pgx call the hooks with a ctx that has it.
type dialing struct {
	*pgdial.Dial
	reach   *upstream.Reach
	wire    *pgwire.Conn      // to the host that was tried last
	session *session.Baseline // as it was before any hook; nil: nobody has read it
}

// dialingKey is where the hooks find it.
type dialingKey struct{}

func isDialing(ctx context.Context) bool { return ctx.Value(dialingKey{}) != nil }

// told is what the user has said of dials, rather than left to a default.
type told struct {
	timeout  bool // how long one may take
	upstream bool // what there is upstream
	dial     bool // who dials: ConnConfig.DialFunc
	handler  bool // what the end of a ctx does: ConnConfig.BuildContextWatcherHandler
}

// newDialer is for a pool that dials with cc, and reads that may ride if rides.
func newDialer(ctx context.Context, cfg *Config, cc *pgx.ConnConfig, told told, rides bool, w *workers, h *health, s *sched.Scheduler) *dialer {
	d := &dialer{cfg: cfg, told: told, ctx: ctx, workers: w, health: h, listens: rides || cfg.Isolation != IsolationOff}
	d.login = pgdial.NewLoginTime(cc.ConnectTimeout, told.timeout, func() bool {
		return h.shortDial.Load() && s.FailedDials()%4 != 3 // a server that is far away needs the time, once in a while
	})
	d.cancels = pgcancel.NewLimiter(int(cfg.MaxConns), ctx.Done())
	d.writer = pgdial.NewWriter(cc, cfg.Upstream == UpstreamRDSProxy)
	for _, host := range sslmode.Hosts(&cc.Config) {
		d.hosts = append(d.hosts, host.Host)
	}
	known := upstream.Config{Isolation: cfg.Isolation != IsolationOff, Replace: s.Replace, Log: w.log}
	switch {
	case cfg.Upstream.shares():
		known.Said = upstream.Pooled
	case told.upstream:
		known.Said = upstream.Direct
	default:
		known.Asks = !cfg.Plain && d.listens // else nothing hangs on it
		if m := pgdial.PoolerMode(cc); known.Asks && cc.DescriptionCacheCapacity > 0 && m != cc.DefaultQueryExecMode {
			known.PoolerMode = m
		}
	}
	d.recognition = upstream.New(known)
	return d
}

// dial has px dial. The ctx of that has no timeout: pgxpool would go on dialing without us, and the connection would be nobody's. Each
// hook, and each part of a dial, has its own.
func (d *dialer) dial(px *pgxpool.Pool) (g *dialing, c *pgxpool.Conn, err error) {
	g = &dialing{Dial: pgdial.NewDial(d.login), reach: d.recognition.Dial()}
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
