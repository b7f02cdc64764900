package pool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/memrows"
)

// Exec is [pgx.Conn.Exec].
func (l *Lease) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return l.lent.Exec(ctx, sql, args...)
}

func (w leased) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return w.l.exec(ctx, nil, sql, args, false)
}

// Query is [pgx.Conn.Query]. The lease is busy until the Rows are closed.
func (l *Lease) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return l.lent.Query(ctx, sql, args...)
}

func (w leased) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return w.l.query(ctx, nil, sql, args, false)
}

// QueryRow is [pgx.Conn.QueryRow], but reads the row at once: the lease is free when QueryRow returns, even if Scan is never called.
func (l *Lease) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return l.lent.QueryRow(ctx, sql, args...)
}

func (w leased) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return w.l.queryRow(ctx, nil, sql, args, false)
}

// SendBatch is [pgx.Conn.SendBatch]. The lease is busy until the result is closed.
func (l *Lease) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return memrows.FailedBatch(errNoBatch, nil)
	}
	return l.lent.SendBatch(ctx, b)
}

func (w leased) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return w.l.sendBatch(ctx, nil, "batch", b, false)
}

// CopyFrom is [pgx.Conn.CopyFrom], but returns when ctx ends: see [Pool.CopyFrom]. While a method of a value hangs the lease stays busy.
func (l *Lease) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if src == nil {
		return 0, errNoSource
	}
	return l.lent.CopyFrom(ctx, table, columns, src)
}

func (w leased) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return w.l.copyFrom(ctx, nil, table, columns, src)
}

// Begin starts a transaction on the lease. The end of the transaction does not release the lease.
func (l *Lease) Begin(ctx context.Context) (pgx.Tx, error) { return l.BeginTx(ctx, pgx.TxOptions{}) }

// BeginTx is Begin with options.
func (l *Lease) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return l.lent.BeginTx(ctx, opts)
}

func (w leased) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return w.l.begin(ctx, opts, false)
}

// Ping checks that the server answers.
func (l *Lease) Ping(ctx context.Context) error { return l.lent.Ping(ctx) }

func (w leased) Ping(ctx context.Context) error {
	l := w.l
	c, err := l.enter("ping")
	if err != nil {
		return err
	}
	defer l.leave()
	return l.c.wrapError(c.Ping(ctx))
}
