package pool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/memrows"
)

// Conn returns the connection itself. A lease whose Conn was taken cannot be
// cleaned when its invocation ends with it still held: its socket is closed
// instead. Conn must not be used after Release. What is registered on its TypeMap is there for the connection's
// next users too: register types in AfterConnect.
func (l *Lease) Conn() *pgx.Conn {
	if l.plain != nil {
		return l.plain.Conn()
	}
	if !l.begins() || !l.tookRaw() {
		return l.p.ended.Conn()
	}
	if l.c.cancel.Pending() {
		if _, err := l.enter(""); err == nil { // it is settled now
			l.leave()
		}
	}
	return l.c.pg
}

// begins has a BEGIN that is held back sent before the connection itself is given away, by which more can be sent than
// the wire sees. It is false if that fails: what is sent then would not be in the transaction.
func (l *Lease) begins() bool {
	if !l.holdsBegin() {
		return true
	}
	if _, err := l.enter("begin"); err != nil {
		return false
	}
	defer l.leave()
	ctx, cancel := context.WithTimeout(context.Background(), l.p.cfg.ConnectTimeout)
	defer cancel()
	return !l.c.wire.BeginDeferred() || l.c.pg.PgConn().Exec(ctx, "-- has BEGIN sent").Close() == nil
}

// Exec is [pgx.Conn.Exec].
func (l *Lease) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if l.plain != nil {
		return l.plain.Exec(ctx, sql, args...)
	}
	return l.exec(ctx, nil, sql, args, false)
}

// Query is [pgx.Conn.Query]. The lease is busy until the Rows are closed.
func (l *Lease) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if l.plain != nil {
		return l.plain.Query(ctx, sql, args...)
	}
	return l.query(ctx, nil, sql, args, false)
}

// QueryRow is [pgx.Conn.QueryRow], but the row is read at once: the lease is free
// when QueryRow returns, whether Scan is called or not.
func (l *Lease) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if l.plain != nil {
		return l.plain.QueryRow(ctx, sql, args...)
	}
	return l.queryRow(ctx, nil, sql, args, false)
}

// SendBatch is [pgx.Conn.SendBatch]. The lease is busy until Close of the result.
func (l *Lease) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return memrows.FailedBatch(errNoBatch)
	}
	if l.plain != nil {
		return l.plain.SendBatch(ctx, b)
	}
	return l.sendBatch(ctx, nil, "batch", b, false)
}

// CopyFrom is [pgx.Conn.CopyFrom], but returns when ctx ends: see [Pool.CopyFrom]. While a value that hangs is being encoded
// the lease is busy, also after that.
func (l *Lease) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if src == nil {
		return 0, errNoSource
	}
	if l.plain != nil {
		return l.plain.CopyFrom(ctx, table, columns, src)
	}
	return l.copyFrom(ctx, nil, table, columns, src)
}

// Begin starts a transaction on the lease, which stays the caller's to Release.
func (l *Lease) Begin(ctx context.Context) (pgx.Tx, error) {
	return l.BeginTx(ctx, pgx.TxOptions{})
}

// BeginTx is Begin with options.
func (l *Lease) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	if l.plain != nil {
		return l.plain.BeginTx(ctx, opts)
	}
	return l.begin(ctx, opts, false)
}

// Ping checks that the server answers.
func (l *Lease) Ping(ctx context.Context) error {
	if l.plain != nil {
		return l.plain.Ping(ctx)
	}
	c, err := l.enter("ping")
	if err != nil {
		return err
	}
	defer l.leave()
	return l.c.wrapError(c.Ping(ctx))
}
