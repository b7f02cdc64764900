package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/connstring"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// Pool shares a few connections among many goroutines. Make one per process with
// [New] and use it from everywhere.
type Pool struct {
	cfg           Config
	px            *pgxpool.Pool
	sched         *sched.Scheduler
	stats         stats
	health        health
	lanes         *lanes
	ended         *placeholder // for the connections that nobody has any more
	cancels       *pgcancel.Limiter
	writer        *pgdial.Writer
	recognition   recognition
	rides         bool // statements may ride
	login         *pgdial.LoginTime
	mode          pgx.QueryExecMode
	log           *slog.Logger
	hosts         []string              // what dials go to, for what their errors say
	acquireTracer pgxpool.AcquireTracer // nil: none
	releaseTracer pgxpool.ReleaseTracer // nil: none

	ctx    context.Context // ends when the pool is closed; what dials and housekeeping run under
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine of the pool

	detached       atomic.Int64 // ctxs from Detach that live
	closesSessions sync.Once    // that it does is logged once
	saidExecMode   sync.Once    // that BeforeConnect has chosen it is logged once
	inside         sites        // where the pool was used inside a transaction's function
}

// New makes a pool. It does not dial: a connection string or Config that is wrong
// is an error here, a server that is away is one of the first use, or of
// [Pool.Ping] or [Pool.Warm]. ctx gives the dials its values, not its end.
//
// connString is what [pgxpool.ParseConfig] takes. What config sets wins over the
// connection string; a nil config is all defaults. All faults are reported at once,
// without anything that may be part of a password; [Misconfigured] is true for them.
func New(ctx context.Context, connString string, config *Config) (*Pool, error) {
	px, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, pgerr.Config(fmt.Errorf("lmipool: %w", connstring.Fault(err)))
	}
	said := px.ConnConfig.ConnectTimeout > 0 || config != nil && config.ConnectTimeout > 0
	if err := errors.Join(connstring.Check(connString, &px.ConnConfig.Config), connstring.CheckNames(px.ConnConfig.RuntimeParams)); err != nil {
		return nil, pgerr.Config(fmt.Errorf("lmipool: %w", err))
	}
	cfg := config.withDefaults(px)
	pgdial.Secure(px.ConnConfig, connString, cfg.RootCAs, cfg.Logger)
	if err := errors.Join(cfg.validate(), refuseUnsafe(px.ConnConfig)); err != nil {
		return nil, pgerr.Config(err)
	}
	cfg.adapt(px.ConnConfig)
	if cfg.MaxConns > absurdConns {
		cfg.Logger.Warn("lmipool: MaxConns is more than a server takes from one process", "max_conns", cfg.MaxConns)
	}
	p := &Pool{cfg: cfg, log: cfg.Logger}
	p.login = pgdial.NewLoginTime(px.ConnConfig.ConnectTimeout, said, p.shortDial)
	if cfg.Plain { // nothing grows
		px.ConnConfig.ConnectTimeout = cfg.ConnectTimeout
	}
	for _, h := range sslmode.Hosts(&px.ConnConfig.Config) {
		p.hosts = append(p.hosts, h.Host)
	}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.sched = p.newScheduler()
	p.lanes = newLanes(cfg.LaneFunctions)
	p.cancels = pgcancel.NewLimiter(int(cfg.MaxConns), p.ctx.Done())
	p.writer = pgdial.NewWriter(px.ConnConfig, cfg.Upstream == UpstreamRDSProxy)
	if pgdial.InAWS(px.ConnConfig) && !cfg.Plain {
		px.ConnConfig.DialFunc = pgdial.AWSDialer().DialContext // BeforeConnect may have another
	}
	p.mode = px.ConnConfig.DefaultQueryExecMode
	p.rides = cfg.Lanes != LanesOff && cfg.PrepareConn == nil && !cfg.Plain && cfg.ridesWith(p.mode, false)
	p.recognition.init(&cfg, px.ConnConfig, config == nil || config.Upstream == "" || config.Upstream == UpstreamAuto, p.rides)
	if !cfg.Plain {
		p.acquireTracer, _ = cfg.Tracer.(pgxpool.AcquireTracer)
		p.releaseTracer, _ = cfg.Tracer.(pgxpool.ReleaseTracer)
	}
	px = p.pgxpoolConfig(px)
	if p.ended, err = newPlaceholder(px.ConnConfig); err == nil {
		p.px, err = pgxpool.NewWithConfig(p.ctx, px)
	}
	if err != nil {
		p.cancel()
		return nil, fmt.Errorf("lmipool: %w", err)
	}
	if !cfg.Plain {
		p.background("housekeeping", p.maintain)
	}
	return p, nil
}

// acquire gets a connection for ctx's scope, waiting in order of arrival. frames
// is how many callers to leave out of the stack; negative takes no stack.
func (p *Pool) acquire(ctx context.Context, what, sql string, frames int) (*Lease, error) {
	l := &Lease{p: p, what: what, sql: sql, wish: sched.Request{Asked: time.Now()}}
	if frames >= 0 {
		l.stack.Capture(frames+1, gostack.Deep)
	}
	return p.obtain(ctx, l)
}

// statement is acquire for one statement outside a transaction, which may ride: then
// the lease has its rows, and never had a connection. It runs with settings, if any. What is tried again runs alone.
func (p *Pool) statement(ctx context.Context, a tries, with *session.Settings, what, sql string, args []any, frames int) (*Lease, error) {
	l := p.lanes.spare.lease()
	l.p, l.with, l.what, l.sql, l.args = p, with, what, sql, args
	l.wish.MayShare, l.wish.Asked = p.rides && a.n == 0, time.Now()
	if frames >= 0 {
		l.stack.Capture(frames+1, gostack.Deep)
	}
	return p.obtain(ctx, l)
}

func (p *Pool) obtain(ctx context.Context, l *Lease) (_ *Lease, err error) {
	l.asks(&l.wish)
	scope, in := placeOf(ctx)
	if l.scope = scope; in != nil {
		l.wish.Within = &in.within
		p.reportInside(l, in)
	}
	if t := p.acquireTracer; t != nil {
		ctx = t.TraceAcquireStart(ctx, p.px, pgxpool.TraceAcquireStartData{})
		defer func() {
			end := pgxpool.TraceAcquireEndData{Err: err}
			switch {
			case err != nil:
			case l.ride != nil:
				end.Conn = p.ended.first
			default:
				end.Conn = l.c.pg
			}
			p.protect("TraceAcquireEnd", func() { t.TraceAcquireEnd(ctx, p.px, end) })
		}()
	}
	if err = p.connFor(ctx, l); err != nil {
		if l.ride != nil { // it had got further
			return nil, err
		}
		return nil, p.acquireError(l, err)
	}
	return l, nil
}

// connFor gives l a connection that is fit, or has it ride.
func (p *Pool) connFor(ctx context.Context, l *Lease) error {
	// As many tries as pgxpool makes: in the worst case every connection there
	// is turns out to be dead, and the one after that is new. And one to ride.
	for try := range int(p.cfg.MaxConns) + 2 {
		got, err := p.sched.Acquire(ctx, &l.wish, try > 0)
		if err != nil {
			err = acquired(err)
			if l.ride != nil {
				l.gaveUp(err)
			}
			return err
		}
		if got == nil {
			if done, err := l.rode(ctx); done || err != nil {
				return err
			}
			continue
		}
		if l.ride != nil {
			l.goAlone()
		}
		c := got.Owner.(*conn)
		l.known = true
		if ok, err := c.fit(ctx, l); err != nil {
			return err
		} else if ok {
			if l.what == "lease" && c.wire.Flush() != nil { // its user may say nothing for long
				c.closeInBackground()
				continue
			}
			return l.start(c)
		}
	}
	return pgerr.ErrUnfit
}

// acquireError adds to err what the pool looked like. The ctx's own error needs
// it most, the sentinels of a use that cannot succeed need nothing.
func (p *Pool) acquireError(l *Lease, err error) error {
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrInvocationEnded) {
		return err
	}
	if e, ok := err.(*NestedAcquireError); ok { //nolint:errorlint // it was just made, and is not wrapped
		e.fill()
	}
	now := time.Now()
	s := p.sched.Stats()
	e := &AcquireError{
		Waited: now.Sub(l.wish.Asked),
		Limit:  s.Limit,
		InUse:  s.Held,
		Queued: s.Queued + 1, // the caller has just left the queue
		Err:    err,
	}
	if out := p.out(); len(out) > 0 {
		h := slices.MaxFunc(out, func(a, b *Lease) int { return cmp.Compare(a.held(now), b.held(now)) }).holder(now)
		e.Longest = &h
	}
	return e
}

// Acquire gets a connection for the caller alone, waiting in order of arrival
// until one is free, ctx ends or its scope does. Release gives it back. If the
// caller only runs statements, the pool's own methods hold a connection shorter.
func (p *Pool) Acquire(ctx context.Context) (*Lease, error) {
	if p.cfg.Plain {
		c, err := p.px.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		return &Lease{plain: c}, nil
	}
	l := &Lease{p: p, what: "lease", wish: sched.Request{Asked: time.Now()}}
	l.stack.Capture(0, ofAcquire)
	return p.obtain(ctx, l)
}

// ofAcquire is how many callers of Acquire are recorded.
const ofAcquire = 5

// AcquireFunc runs f with a lease, and releases it after f, also when f panics.
// ctx affects only the acquiring.
func (p *Pool) AcquireFunc(ctx context.Context, f func(*Lease) error) error {
	if f == nil {
		return errNoFunc
	}
	l, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer l.Release()
	return f(l)
}

// Exec is [pgxpool.Pool.Exec].
func (p *Pool) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if p.cfg.Plain {
		return p.px.Exec(ctx, sql, args...)
	}
	return p.exec(ctx, nil, sql, args)
}

func (p *Pool) exec(ctx context.Context, with *session.Settings, sql string, args []any) (pgconn.CommandTag, error) {
	var a tries
	for {
		tag, l, err := p.execOnce(ctx, a, with, sql, args)
		if !p.retry(ctx, &a, l, err) {
			return tag, err
		}
	}
}

// execOnce is one try. l is the lease that it had, if any.
func (p *Pool) execOnce(ctx context.Context, a tries, with *session.Settings, sql string, args []any) (tag pgconn.CommandTag, l *Lease, err error) {
	l, err = p.statement(ctx, a, with, "statement", sql, args, -1)
	if err != nil {
		return tag, nil, err
	}
	if r := l.rows(); r != nil {
		r.Close()
		return r.CommandTag(), nil, r.Err()
	}
	defer l.Release()
	tag, err = l.exec(ctx, sql, args, true)
	return tag, l, err
}

// Query is [pgxpool.Pool.Query]. The Rows hold a connection until they are closed
// or read to their end, unless the statement rode a lane: then they are in memory,
// and their Conn is a closed connection, which is of use for its TypeMap only.
func (p *Pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if p.cfg.Plain {
		return p.px.Query(ctx, sql, args...)
	}
	return p.query(ctx, nil, sql, args)
}

func (p *Pool) query(ctx context.Context, with *session.Settings, sql string, args []any) (pgx.Rows, error) {
	l, err := p.statement(ctx, tries{}, with, "query", sql, args, 2)
	if err != nil {
		return errRows{err: err}, err
	}
	if r := l.rows(); r != nil {
		return r, nil
	}
	return l.query(ctx, sql, args, true)
}

// QueryRow is [pgxpool.Pool.QueryRow], but the row is read and the connection is
// free when QueryRow returns. Scan decodes from memory; not calling it loses
// nothing. Errors come from Scan, as in pgx.
func (p *Pool) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if p.cfg.Plain {
		return p.px.QueryRow(ctx, sql, args...)
	}
	return p.queryRow(ctx, nil, sql, args)
}

func (p *Pool) queryRow(ctx context.Context, with *session.Settings, sql string, args []any) pgx.Row {
	var a tries
	for {
		r, l := p.queryRowOnce(ctx, a, with, sql, args)
		if !p.retry(ctx, &a, l, r.Err()) {
			return r
		}
	}
}

// queryRowOnce is one try. l is the lease that it had, if any.
func (p *Pool) queryRowOnce(ctx context.Context, a tries, with *session.Settings, sql string, args []any) (r *memrows.Row, l *Lease) {
	l, err := p.statement(ctx, a, with, "statement", sql, args, -1)
	if err != nil {
		return memrows.Failed(err), nil
	}
	if r := l.rows(); r != nil {
		return r.Row(), nil
	}
	defer l.Release()
	return l.queryRow(ctx, sql, args, true), l
}

// SendBatch is [pgxpool.Pool.SendBatch]. The result holds a connection until its
// Close.
func (p *Pool) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return errBatch{err: errNoBatch}
	}
	if p.cfg.Plain {
		return p.px.SendBatch(ctx, b)
	}
	return p.sendBatch(ctx, nil, b)
}

func (p *Pool) sendBatch(ctx context.Context, with *session.Settings, b *pgx.Batch) pgx.BatchResults {
	l := &Lease{p: p, with: with, what: "batch", wish: sched.Request{Asked: time.Now()}}
	l.stack.Capture(2, gostack.Deep)
	if _, err := p.obtain(ctx, l); err != nil {
		return errBatch{err: err}
	}
	return l.sendBatch(ctx, b, true)
}

// CopyFrom is [pgxpool.Pool.CopyFrom], but returns when ctx ends, also if src is slow: within twice CancelWait, when the server has said that
// nothing was copied and src's call that was running has returned. If that call, or that of a method of one of its values, takes longer it
// runs on, and is the last one: until it has returned src must not be used for anything else.
func (p *Pool) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if src == nil {
		return 0, errNoSource
	}
	if p.cfg.Plain {
		return p.px.CopyFrom(ctx, table, columns, src)
	}
	l, err := p.acquire(ctx, "statement", "", -1)
	if err != nil {
		return 0, err
	}
	defer l.Release()
	return l.CopyFrom(ctx, table, columns, src)
}

// Begin starts a transaction. The connection is held until Commit or Rollback; ctx
// affects only the begin, as in pgx.
func (p *Pool) Begin(ctx context.Context) (pgx.Tx, error) {
	return p.beginTx(ctx, nil, pgx.TxOptions{})
}

// BeginTx is Begin with options.
func (p *Pool) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return p.beginTx(ctx, nil, opts)
}

func (p *Pool) beginTx(ctx context.Context, with *session.Settings, opts pgx.TxOptions) (pgx.Tx, error) {
	if p.cfg.Plain {
		return p.px.BeginTx(ctx, opts)
	}
	var a tries
	for {
		l, err := p.acquire(ctx, "transaction", "", 2)
		if err != nil {
			return nil, err
		}
		l.with = with // not before: BEGIN does not run with them
		t, err := l.begin(ctx, opts, true)
		if err == nil {
			return t, nil
		}
		if _, in := placeOf(ctx); in != nil && in.lease == l {
			in.holding(nil) // the next is
		}
		if pgerr.IsLost(err) && !pgerr.DidNotRun(err) && opts.BeginQuery == "" { // it has begun nothing that would last
			err = pgerr.NotRun("the connection was lost at BEGIN", err)
		}
		if !p.retry(ctx, &a, l, err) {
			return nil, err
		}
	}
}

// Ping gets a connection, dialing if need be, and checks that the server answers.
func (p *Pool) Ping(ctx context.Context) error {
	if p.cfg.Plain {
		return p.px.Ping(ctx)
	}
	var a tries
	for {
		l, err := p.acquire(ctx, "statement", "ping", -1)
		if err != nil {
			return err
		}
		err = l.Ping(ctx)
		l.Release()
		if pgerr.IsLost(err) && !pgerr.DidNotRun(err) {
			err = pgerr.NotRun("the connection was lost at a ping", err)
		}
		if !p.retry(ctx, &a, l, err) {
			return err
		}
	}
}

// Warm opens connections before the first invocation needs them: MinConns or
// MinIdleConns, whichever is more, and at least one. It returns when the first of
// them answers; the others follow in the background.
func (p *Pool) Warm(ctx context.Context) error {
	if err := p.Ping(ctx); err != nil {
		return err
	}
	if !p.cfg.Plain {
		p.topUp()
	}
	return nil
}

// Stat returns a snapshot. With Config.Plain it has what pgxpool counts.
func (p *Pool) Stat() *Stat {
	if p.cfg.Plain {
		return plainStat(p.px.Stat())
	}
	s := &Stat{s: p.sched.Stats()}
	s.detached = p.detached.Load()
	p.stats.stat(s)
	p.lanes.stat(s)
	s.canceling, s.maxCanceling, s.cancels, s.cancelsLost = p.cancels.Stat()
	return s
}
