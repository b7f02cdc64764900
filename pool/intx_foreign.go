package pool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// foreignTx is a transaction of somebody else's that InTx gives to its function: of pgxpool, of a pool with Config.Plain,
// of a mock. The answers to it are not heard, so of what may end the transaction ("commit and chain" leaves another behind)
// only the text is known: after that the function does not run again.
type foreignTx struct {
	pgx.Tx
	mayEnd *bool // something of it, or of a savepoint in it, may have ended it
}

func newForeignTx(t pgx.Tx) *foreignTx { return &foreignTx{t, new(bool)} }

func (t *foreignTx) runs(ctx context.Context, sql string, args []any) {
	text, ok := pgxargs.Text(ctx, sql, args)
	*t.mayEnd = *t.mayEnd || !ok || sqltext.MayEndTx(text)
}

func (t *foreignTx) Begin(ctx context.Context) (pgx.Tx, error) {
	inner, err := t.Tx.Begin(ctx)
	if err != nil {
		return inner, err
	}
	return &foreignTx{inner, t.mayEnd}, nil
}

func (t *foreignTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	t.runs(ctx, sql, args)
	return t.Tx.Exec(ctx, sql, args...)
}

func (t *foreignTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	t.runs(ctx, sql, args)
	return t.Tx.Query(ctx, sql, args...)
}

func (t *foreignTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	t.runs(ctx, sql, args)
	return t.Tx.QueryRow(ctx, sql, args...)
}

func (t *foreignTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return errBatch{errNoBatch}
	}
	for _, q := range b.QueuedQueries {
		t.runs(ctx, q.SQL, q.Arguments)
	}
	return t.Tx.SendBatch(ctx, b)
}

func (t *foreignTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	t.runs(ctx, sql, nil)
	return t.Tx.Prepare(ctx, name, sql)
}

// Conn gives the connection itself away, by which anything can be said.
func (t *foreignTx) Conn() *pgx.Conn {
	*t.mayEnd = true
	return t.Tx.Conn()
}
