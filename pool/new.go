package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/connstring"
	"github.com/lmipool/lmipool/internal/deadconn"
	"github.com/lmipool/lmipool/internal/fleet"
	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/member"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/tell"
)

// New makes a pool. It does not dial: a wrong connection string or Config is an error here, but an absent server is an error of the first use, or of
// [Pool.Ping] or [Pool.Warm]. The dials see ctx's values, but do not end with it.
//
// connString is what [pgxpool.ParseConfig] takes. If connString and config set the same thing, config's value counts. A nil config has all defaults.
// The error names all faults, and shows nothing that may be part of a password. [Misconfigured] is true for the error.
func New(ctx context.Context, connString string, config *Config) (*Pool, error) {
	px, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, pgerr.Config(fmt.Errorf("lmipool: %w", connstring.Fault(err)))
	}
	return newPool(ctx, px, config, told{})
}

// NewWithConfig is [New] with pgxpool's own Config, which must be from [pgxpool.ParseConfig]. The hooks, limits and times of px apply where config sets
// none. NewWithConfig copies px: changing px later has no effect.
func NewWithConfig(ctx context.Context, px *pgxpool.Config, config *Config) (*Pool, error) {
	if px == nil || px.ConnConfig == nil || px.ConnConfig.BuildFrontend == nil || px.MaxConns == 0 && px.HealthCheckPeriod == 0 {
		return nil, pgerr.Config(errNotParsed)
	}
	own, err := pgx.ParseConfig(px.ConnString()) // the ConnConfig before the user changed it
	if err != nil {
		return nil, pgerr.Config(fmt.Errorf("lmipool: %w", connstring.Fault(err)))
	}
	c := &Config{}
	if config != nil {
		*c = *config
	}
	px = px.Copy()
	setDefault(&px.HealthCheckPeriod, time.Minute)
	setDefault(&px.ConnConfig.DialFunc, own.DialFunc) // without these pgconn panics, in a goroutine of pgxpool
	setDefault(&px.ConnConfig.LookupFunc, own.LookupFunc)
	setDefault(&px.ConnConfig.RuntimeParams, map[string]string{})
	setDefault(&px.ConnConfig.BuildContextWatcherHandler, own.BuildContextWatcherHandler)
	told := told{handler: !pgdial.SameFunc(own.BuildContextWatcherHandler, px.ConnConfig.BuildContextWatcherHandler)}
	if before := px.BeforeAcquire; before != nil && px.PrepareConn == nil { //nolint:staticcheck // deprecated, but pgxpool still calls it
		px.PrepareConn = func(ctx context.Context, pg *pgx.Conn) (bool, error) { return before(ctx, pg), nil }
	}
	px.BeforeAcquire = nil //nolint:staticcheck // as above
	c.takeHooks(px)
	return newPool(ctx, px, c, told)
}

var errNotParsed = errors.New("lmipool: the pgxpool.Config is not from pgxpool.ParseConfig")

// newPool makes a pool with px, which it changes.
func newPool(ctx context.Context, px *pgxpool.Config, config *Config, told told) (_ *Pool, err error) {
	connString := px.ConnString()
	told.timeout = px.ConnConfig.ConnectTimeout > 0 || config != nil && config.ConnectTimeout > 0
	told.upstream = config != nil && config.Upstream != "" && config.Upstream != UpstreamAuto
	if err := errors.Join(connstring.Check(connString, &px.ConnConfig.Config), connstring.CheckNames(px.ConnConfig.RuntimeParams)); err != nil {
		return nil, pgerr.Config(fmt.Errorf("lmipool: %w", err))
	}
	cfg := config.withDefaults(px)
	told.sslmode, told.sslmodeBy = pgdial.Secure(px.ConnConfig, connString, cfg.RootCAs, cfg.Logger)
	p := &Pool{workers: workers{log: cfg.Logger}}
	p.observers, err = tell.New(cfg.Observers, cfg.Logger, &p.panics)
	if err := errors.Join(cfg.validate(), cfg.settle(px.ConnConfig), pgdial.RefuseUnsafe(px.ConnConfig), pgdial.RefuseDSQL(px.ConnConfig), err); err != nil {
		return nil, pgerr.Config(err)
	}
	if cfg.MaxConns > absurdConns {
		cfg.Logger.Warn("lmipool: MaxConns is more than a server takes from one process", "max_conns", cfg.MaxConns)
	}
	id := fleet.NewID()
	cfg.ApplicationName = id.Name(cmp.Or(px.ConnConfig.RuntimeParams[appName], cfg.ApplicationName))
	p.cfg = cfg
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.sched = p.newScheduler()
	p.mode = px.ConnConfig.DefaultQueryExecMode
	p.rides = cfg.Lanes != Off
	p.dialer = newDialer(p.ctx, &p.cfg, id, px.ConnConfig, told, p.rides, &p.workers, &p.health, p.sched)
	p.dialer.companions = p.newCompanions()
	p.writer = p.dialer.writer
	p.acquireTracer, _ = cfg.Tracer.(pgxpool.AcquireTracer)
	p.releaseTracer, _ = cfg.Tracer.(pgxpool.ReleaseTracer)
	p.dialer.configure(px)
	p.ended = deadconn.New(px.ConnConfig)
	p.lanes = lane.NewShared(lane.Config{
		Sched: p.sched, Functions: cfg.LaneFunctions, Gone: gone, Lost: p.health.lost,
		Protect: p.protect, Tracer: cfg.Tracer, Closed: p.ended.First, Log: p.log,
		Flew: onlyIf(p.observers.WantFlights(), p.tellFlight),
	})
	p.sessions = &isolation.Sessions{Catalog: p.lanes.Catalog, OnReset: p.tellReset, OnLearned: p.sched.AskAgain, Waits: p.sched.Waits, Log: p.log}
	if p.px, err = newPgxpool(p.ctx, px); err != nil {
		p.cancel()
		return nil, fmt.Errorf("lmipool: %w", err)
	}
	if p.engine = (plain{p}); cfg.Plain != On {
		p.engine = pooled{p}
		if cfg.FleetBudget >= 0 && cfg.noFleet() == "" {
			p.member = member.New(member.Config{ID: id, Budget: int(cfg.FleetBudget), Move: p.sched.SetCeiling, Log: p.log})
		}
		p.background("housekeeping", p.maintain)
	}
	return p, nil
}

// newScheduler makes the scheduler. For the scheduler a conn is its field place, and a lease or flight is its Request.
func (p *Pool) newScheduler() *sched.Scheduler {
	return sched.New(sched.Config{
		Max:          int(p.cfg.MaxConns),
		Least:        int(p.cfg.MinConns), // also before housekeeping has set the floor
		MaxGroup:     lane.MaxFlight,
		MaxGroupTime: func() time.Duration { return 2 * p.lanes.Catalog.Slow },
		Patience:     p.cfg.ConnectTimeout,
		MaxWait:      p.cfg.MaxWait,
		MaxQueue:     int(p.cfg.MaxQueue),
		Fair:         p.cfg.FairBy != nil,
		Dial:         p.dial,
		Prepare:      func(ctx context.Context, r *sched.Request) sched.Share { return r.Owner.(*Lease).rideFor(ctx) },
		Traits:       func(ctx context.Context, r *sched.Request) sched.Traits { return r.Owner.(*Lease).traits(ctx) },
		Gone:         gone,
		Done:         func(r *sched.Request) <-chan struct{} { return r.Owner.(*Lease).scope.end() },
		Group:        func(place *sched.Conn) *sched.Group { return newFlight(place.Owner.(*conn)) },
		Carry:        func(g *sched.Group) { p.background("lane", g.Owner.(*flight).fly) },
		Close:        func(place *sched.Conn) { place.Owner.(*conn).closeInBackground() },
		Send:         func(place *sched.Conn) { place.Owner.(*conn).idled() },
		Moved:        p.limitMoved,
	})
}

// gone returns ErrInvocationEnded if r's invocation has ended, else nil.
func gone(r *sched.Request) error {
	if r.Owner.(*Lease).scope.gone() {
		return ErrInvocationEnded
	}
	return nil
}

// newPgxpool is pgxpool.NewWithConfig, but returns an error for a Config that is not from ParseConfig, for which pgxpool panics.
func newPgxpool(ctx context.Context, px *pgxpool.Config) (_ *pgxpool.Pool, err error) {
	defer func() {
		if recover() != nil {
			err = pgerr.Config(errNotParsed)
		}
	}()
	return pgxpool.NewWithConfig(ctx, px)
}

// Warm opens connections before the first invocation needs them: the greater of MinConns and MinIdleConns, and at least one. It returns when the
// first connection answers, or with [Pool.Ping]'s error. The others are opened in the background.
func (p *Pool) Warm(ctx context.Context) error {
	if err := p.Ping(ctx); err != nil {
		return err
	}
	p.topUp()
	return nil
}

// Stat returns a snapshot of the pool's counters. With Config.Plain it has only those that pgxpool has.
func (p *Pool) Stat() *Stat { return p.on().stat() }

func (p pooled) stat() *Stat {
	s, own := p.sched.Stats(), &p.stats
	n := numbers{
		AcquireCount: s.Acquires, AcquireDuration: milliseconds(s.Waited), AcquiredConns: int32(s.Held), CanceledAcquireCount: s.Canceled,
		EmptyAcquireCount: s.Waits, EmptyAcquireWaitTime: milliseconds(s.Waited), Queued: int32(s.Queued),
		RefusedCount: s.Refused, Pressed: s.Pressed, ExpectedService: milliseconds(s.Service),
		ConstructingConns: int32(s.Dialing), IdleConns: int32(s.Idle), TotalConns: int32(s.Total), MaxConns: int32(s.Max), Limit: int32(s.Limit), LimitReason: s.LimitReason,
		NewConnsCount: s.Opened, MaxLifetimeDestroyCount: own.aged.Load(), MaxIdleDestroyCount: own.unused.Load(), PanicCount: p.panics.Load(),
		Dials: DialStat{
			Failed: s.FailedDials, Refused: s.RefusedDials, Failovers: p.health.failovers.Load(), Time: s.DialTime, HoldTime: s.HoldTime,
		},
		Fleet: p.fleetStat(),
		Lanes: LaneStat{
			MaxFlightSize: lane.MaxFlight, Reruns: own.reruns.Load(), ShadowRides: own.shadow.Load(), Alone: own.alone.All(),
			CatalogChanges: p.lanes.Baselines.Changes.Load(), UnconfirmedRides: p.lanes.Baselines.Unconfirmed.Load(),
		},
		Invocations: InvocationStat{
			Leaks: own.leaks.Load(), LateUses: own.late.Load(), Nested: s.Nested, Detached: p.detached.Load(), Resets: own.resets.Load(), Unclean: own.unclean.Load(),
		},
	}
	n.Lanes.Rides, n.Lanes.Flights, n.Lanes.GuardRefusals = p.lanes.Stat()
	open, most, sent, lost := p.dialer.cancels.Stat()
	n.Cancels = CancelStat{Requests: sent, Lost: lost, Conns: int32(open), MaxConns: int32(most)}
	return &Stat{n}
}

// Config returns a copy of the pool's settings: what it was given, completed by the connection string and the defaults. No field holds a secret.
func (p *Pool) Config() *Config {
	p.on()
	c := p.cfg
	c.RootCAs, c.LaneFunctions, c.Observers = slices.Clone(c.RootCAs), slices.Clone(c.LaneFunctions), slices.Clone(c.Observers)
	return &c
}

// Upstream returns what the pool takes its connections to lead to, never UpstreamAuto. If Config.Upstream is UpstreamAuto and no host has a name of RDS
// Proxy's form, Upstream returns UpstreamDirect until a connection has met a pooler, and UpstreamPgBouncer after that.
func (p *Pool) Upstream() Upstream {
	p.on()
	if p.dialer.recognition.MetPooler() {
		return UpstreamPgBouncer
	}
	return p.cfg.Upstream
}

// SSLMode returns the sslmode of p's dials and who has chosen it, such as "connection string", or "" for both if p dials only a socket in the file system.
func (p *Pool) SSLMode() (mode, by string) {
	p.on()
	return string(p.dialer.told.sslmode), p.dialer.told.sslmodeBy
}

// WhyOff returns why [New] has turned off the field "Lanes" or "Isolation" of Config, although it was [Auto], or "FleetBudget", although it was 0. It
// also returns why the server does not let the pool count its fleet, so that "FleetBudget" is off. It returns "" if the field is not off for such a reason.
func (p *Pool) WhyOff(field string) string {
	p.on()
	lanes, isolation := p.cfg.impossible(p.mode)
	if p.cfg.Plain == On {
		return plainIsOn
	}
	return map[string]string{"Lanes": lanes, "Isolation": isolation, "FleetBudget": p.noFleet()}[field]
}

// noFleet returns why p has no fleet budget: its Config rules one out, or its server does not answer counts.
func (p *Pool) noFleet() string {
	if err := p.member.WhyOff(); err != nil {
		return err.Error()
	}
	return p.cfg.noFleet()
}
