package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
)

// What of a Bound runs in an explicit transaction: with Config.Plain all of it.

// beginPlain begins in pgxpool.
func (b *Bound) beginPlain(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	t, err := b.p.px.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	if _, err = t.Exec(ctx, b.s.SQL(), b.s.Args()...); err != nil {
		e := txEnd{ctx: ctx, t: t}
		_ = e.end(err)
		return nil, fmt.Errorf("lmipool: With: %w", b.s.Without(err))
	}
	return t, nil
}

// inTx runs f in a transaction, and commits it unless f fails or panics.
func (b *Bound) inTx(ctx context.Context, f func(pgx.Tx) error) (err error) {
	t, err := b.Begin(ctx)
	if err != nil {
		return err
	}
	e := txEnd{ctx: ctx, t: t}
	defer func() { _ = e.end(errAbandonedTx) }()
	return e.end(f(t))
}

var errAbandonedTx = errors.New("lmipool: the transaction was abandoned")

// txEnd ends a transaction, once.
type txEnd struct {
	ctx context.Context
	t   pgx.Tx
	err error
}

// end commits, or rolls back because of err; it returns err, or that of the commit.
func (e *txEnd) end(err error) error {
	if e.t == nil {
		return e.err
	}
	t := e.t
	e.t = nil
	if OutcomeUnknown(err) { // no COMMIT was sent
		err = pgerr.RolledBack(err)
	}
	if e.err = err; err == nil {
		e.err = t.Commit(e.ctx)
		return e.err
	}
	_ = rollBack(e.ctx, t)
	return err
}

// rowsInTx runs a query in t, which ends with its Rows.
func rowsInTx(ctx context.Context, t pgx.Tx, sql string, args []any) (pgx.Rows, error) {
	e := txEnd{ctx: ctx, t: t}
	kept := false
	defer func() {
		if !kept { // a Valuer or a rewriter has panicked, too
			_ = e.end(errAbandonedTx)
		}
	}()
	r, err := t.Query(ctx, sql, args...)
	if err != nil {
		_ = e.end(err)
		return memrows.FailedRows(err), err
	}
	kept = true
	return &txRows{Rows: r, end: e}, nil
}

// txRows are Rows with a transaction of their own.
type txRows struct {
	pgx.Rows
	end txEnd
}

func (r *txRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

func (r *txRows) Close() {
	r.Rows.Close()
	_ = r.end.end(r.Rows.Err())
}

func (r *txRows) Err() error {
	if r.end.t != nil {
		return r.Rows.Err()
	}
	return r.end.err
}

// txRow is pgx's Row on Rows.
type txRow struct{ r pgx.Rows }

func (w txRow) Scan(dest ...any) error {
	defer w.r.Close()
	if err := w.r.Err(); err != nil {
		return err
	}
	for _, d := range dest {
		if _, ok := d.(*pgtype.DriverBytes); ok {
			return errors.New("cannot scan into *pgtype.DriverBytes from QueryRow")
		}
	}
	if !w.r.Next() {
		if err := w.r.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := w.r.Scan(dest...); err != nil {
		return err
	}
	w.r.Close()
	return w.r.Err()
}

// txBatch is a batch with a transaction of its own.
type txBatch struct {
	pgx.BatchResults
	end txEnd
}

func (b *txBatch) Close() error { return b.end.end(b.BatchResults.Close()) }
