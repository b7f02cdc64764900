package lmipool

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/eventlog"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/pool"
)

// Querier runs statements. A pool, a lease, a transaction, a *pgx.Conn and a mock are all Queriers. Querier has all methods of sqlc's DBTX.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// DB has the methods that a handler needs of a pool. lmipool's pool, *pgxpool.Pool and pgxmock's pool have them all, so a handler that takes a DB
// runs with each of them, and replacing lmipool by pgxpool changes one line.
type DB interface {
	Querier
	Begin(ctx context.Context) (pgx.Tx, error)
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
	Ping(ctx context.Context) error
}

var (
	_ DB      = (*Pool)(nil)
	_ DB      = (*pool.Pool)(nil)
	_ DB      = (*pool.Bound)(nil)
	_ DB      = (*pgxpool.Pool)(nil)
	_ Querier = (*pool.Lease)(nil)
	_ Querier = (*pgx.Conn)(nil)
	_ Querier = pgx.Tx(nil)
)

// Pool is a [pool.Pool] that knows what runs it.
type Pool struct {
	*pool.Pool
	env        lambdaenv.Env
	config     Config
	bulkhead   *bulkhead
	last       *eventlog.Log
	terminated sync.Once
}

// in returns p's pool.Pool. It returns nil if p is nil: then the method that is called panics, and says that the pool is nil.
func (p *Pool) in() *pool.Pool {
	if p == nil {
		return nil
	}
	return p.Pool
}

// in returns b's pool.Bound. It returns nil if b is nil: then each call returns an error that says so.
func (b *Bound) in() *pool.Bound {
	if b == nil {
		return nil
	}
	return b.Bound
}

// Bound is a [pool.Bound] that knows its [Pool], so that [Handler] finds it.
type Bound struct {
	*pool.Bound
	of *Pool
}

// With returns the pool bound to settings: see [pool.Pool.With].
func (p *Pool) With(settings map[string]string) *Bound {
	return &Bound{p.in().With(settings), p}
}

// With returns the pool bound to b's settings and to settings. If both have a name, the value in settings wins.
func (b *Bound) With(settings map[string]string) *Bound {
	if b == nil {
		return nil // every use of which is an error
	}
	return &Bound{b.Bound.With(settings), b.of}
}

// Unwrap returns b's pool.
func (b *Bound) Unwrap() DB {
	if b == nil {
		return nil
	}
	return b.of
}
