package lmipool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

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
