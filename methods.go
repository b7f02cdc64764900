package lmipool

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/pool"
)

// Pool and Bound have the methods of package pool's types, which document them. They are written out here, and not promoted, since a promoted method of a
// nil *Pool would be a nil dereference without a sentence that says what is nil.

func (p *Pool) Acquire(ctx context.Context) (*Lease, error) { return p.in().Acquire(ctx) }

func (p *Pool) AcquireFor(ctx context.Context, f func(*Lease) error) (*Lease, error) {
	return p.in().AcquireFor(ctx, f)
}

func (p *Pool) AcquireFunc(ctx context.Context, f func(*Lease) error) error {
	return p.in().AcquireFunc(ctx, f)
}
func (p *Pool) Begin(ctx context.Context) (pgx.Tx, error) { return p.in().Begin(ctx) }
func (p *Pool) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return p.in().BeginTx(ctx, opts)
}
func (p *Pool) Close()                                   { p.in().Close() }
func (p *Pool) Companion(n int32) (*pgxpool.Pool, error) { return p.in().Companion(n) }
func (p *Pool) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return p.in().CopyFrom(ctx, table, columns, src)
}

func (p *Pool) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return p.in().Exec(ctx, sql, args...)
}
func (p *Pool) Format(f fmt.State, verb rune) { p.in().Format(f, verb) }
func (p *Pool) Holders() []Holder             { return p.in().Holders() }
func (p *Pool) NeedsSession(ctx context.Context, sql string, args ...any) bool {
	return p.in().NeedsSession(ctx, sql, args...)
}

func (p *Pool) OpenScope(ctx context.Context, name string, deadline time.Time) (context.Context, *pool.Scope) {
	return p.in().OpenScope(ctx, name, deadline)
}
func (p *Pool) Ping(ctx context.Context) error { return p.in().Ping(ctx) }
func (p *Pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return p.in().Query(ctx, sql, args...)
}

func (p *Pool) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return p.in().QueryRow(ctx, sql, args...)
}
func (p *Pool) Reset()                     { p.in().Reset() }
func (p *Pool) SSLMode() (mode, by string) { return p.in().SSLMode() }
func (p *Pool) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return p.in().SendBatch(ctx, b)
}
func (p *Pool) Shutdown(ctx context.Context) error { return p.in().Shutdown(ctx) }
func (p *Pool) Stat() *Stat                        { return p.in().Stat() }
func (p *Pool) String() string                     { return p.in().String() }
func (p *Pool) Upstream() Upstream                 { return p.in().Upstream() }
func (p *Pool) Warm(ctx context.Context) error     { return p.in().Warm(ctx) }
func (p *Pool) WhyOff(field string) string         { return p.in().WhyOff(field) }

func (b *Bound) Acquire(ctx context.Context) (*Lease, error) { return b.in().Acquire(ctx) }
func (b *Bound) AcquireFor(ctx context.Context, f func(*Lease) error) (*Lease, error) {
	return b.in().AcquireFor(ctx, f)
}

func (b *Bound) AcquireFunc(ctx context.Context, f func(*Lease) error) error {
	return b.in().AcquireFunc(ctx, f)
}
func (b *Bound) Begin(ctx context.Context) (pgx.Tx, error) { return b.in().Begin(ctx) }
func (b *Bound) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return b.in().BeginTx(ctx, opts)
}

func (b *Bound) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return b.in().CopyFrom(ctx, table, columns, src)
}

func (b *Bound) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return b.in().Exec(ctx, sql, args...)
}

func (b *Bound) NeedsSession(ctx context.Context, sql string, args ...any) bool {
	return b.in().NeedsSession(ctx, sql, args...)
}

func (b *Bound) OpenScope(ctx context.Context, name string, deadline time.Time) (context.Context, *pool.Scope) {
	return b.in().OpenScope(ctx, name, deadline)
}
func (b *Bound) Ping(ctx context.Context) error { return b.in().Ping(ctx) }
func (b *Bound) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return b.in().Query(ctx, sql, args...)
}

func (b *Bound) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return b.in().QueryRow(ctx, sql, args...)
}

func (b *Bound) SendBatch(ctx context.Context, q *pgx.Batch) pgx.BatchResults {
	return b.in().SendBatch(ctx, q)
}

// Env returns what Open detected.
func (p *Pool) Env() lambdaenv.Env {
	inside("Env", p)
	return p.env
}

// Config returns a copy of the settings that Open has chosen from variables, config, connection string and defaults. No field has a secret. Its JSON
// leaves out hooks, Tracer, Logger and RootCAs. Margin and ReplyMargin are 0 unless they were set, since [Handler] computes them for each invocation.
func (p *Pool) Config() *Config {
	inside("Config", p)
	c := p.config.fromPool(p.Pool.Config())
	c.Observers = slices.Clone(p.config.Observers) // the pool has those of Open, too
	return c
}

// HandlerStat returns the counters of all handlers that were wrapped with p.
func (p *Pool) HandlerStat() HandlerStat {
	_, b := inside("HandlerStat", p)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stat
	s.InFlight = b.down.running
	s.LateReplies, s.Lateness = b.late.missed.Load(), b.late.at(time.Now())
	return s
}

// InTx runs fn in a transaction, which it commits if fn returns nil and rolls back if fn returns an error or panics: see [pool.InTx]. db is an
// lmipool pool, a pgxpool pool or a mock. BEGIN is sent together with the first statement, and on a Bound together with its settings. fn runs again
// only if opts.MaxRetries says so.
func InTx(ctx context.Context, db Beginner, opts TxOptions, fn func(ctx context.Context, tx pgx.Tx) error) error {
	if isNil(db) {
		db = nil // pool.InTx returns an error for a nil Beginner
	}
	return pool.InTx(ctx, db, opts, fn)
}

// Beginner is [pool.Beginner]: it begins transactions, as a [DB] does, or savepoints, as a pgx.Tx does.
type Beginner = pool.Beginner

// TxOptions is [pool.TxOptions]. The zero value means the server's default transaction, tried once.
type TxOptions = pool.TxOptions
