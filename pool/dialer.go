package pool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

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

// dialer dials through pgxpool, and configures each dial.
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
	hosts       []string                // what is dialed, for error texts
	oldest      atomic.Pointer[dialing] // a dial under way that began before the others; nil: it has ended
	listens     bool                    // the pool has to know what hooks send
	saidExec    sync.Once               // logs once that BeforeConnect has chosen QueryExecModeExec
	saidAlone   sync.Once               // logs once that BeforeConnect has chosen a mode in which no read rides, and Lanes is not off
}

// dialing is a dial under way. pgxpool and pgx call the hooks with a ctx that has it, at dialingKey.
type dialing struct {
	*pgdial.Dial
	reach   *upstream.Reach
	wire    *pgwire.Conn      // to the host that was tried last
	session *session.Baseline // as it was before any hook; nil: it was not read
}

type dialingKey struct{}

func isDialing(ctx context.Context) bool { return ctx.Value(dialingKey{}) != nil }

// told says which settings of dials the user has made, and not left to their defaults.
type told struct {
	timeout  bool // ConnectTimeout
	upstream bool // Upstream
	handler  bool // ConnConfig.BuildContextWatcherHandler: what the end of a ctx does
}

// newDialer makes the dialer of a pool that dials with cc. rides: its reads may ride.
func newDialer(ctx context.Context, cfg *Config, cc *pgx.ConnConfig, told told, rides bool, w *workers, h *health, s *sched.Scheduler) *dialer {
	d := &dialer{cfg: cfg, told: told, ctx: ctx, workers: w, health: h, listens: rides || cfg.Isolation != Off}
	d.login = pgdial.NewLoginTime(cc.ConnectTimeout, told.timeout, func() bool {
		return h.shortDial.Load() && s.Stats().FailedInARow%4 != 3 // each fourth dial has the whole time, which a server far away needs
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
		known.Asks = cfg.Plain != On && d.listens // otherwise the answer would change nothing
		if m := pgdial.PoolerMode(cc); known.Asks && cc.DescriptionCacheCapacity > 0 && m != cc.DefaultQueryExecMode {
			known.PoolerMode = m
		}
	}
	d.recognition = upstream.New(known)
	return d
}

// dial dials with px. Its ctx has no timeout, but each hook and part of a dial has: pgxpool would go on dialing, for a connection without an owner.
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
