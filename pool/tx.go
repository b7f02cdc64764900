package pool

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// begin starts a transaction on the lease. With own, its end releases the lease.
func (l *Lease) begin(ctx context.Context, opts pgx.TxOptions, own bool) (pgx.Tx, error) {
	c, err := l.enter("begin")
	if err != nil {
		return nil, err
	}
	defer l.leave()
	if opts.BeginQuery != "" {
		l.note(ctx, opts.BeginQuery, nil)
	}
	if opts.CommitQuery != "" {
		l.note(ctx, opts.CommitQuery, nil)
	}
	t, err := c.BeginTx(ctx, opts)
	if err != nil {
		return nil, l.c.judge(err)
	}
	return &tx{l: l, t: t, own: own}, nil
}

// tx is pgx's Tx on a lease: a transaction, or a savepoint inside one. After its
// own end it says [pgx.ErrTxClosed], so that a deferred Rollback is safe, and
// after the invocation's [ErrInvocationEnded].
type tx struct {
	l   *Lease
	t   pgx.Tx
	own bool
}

func (x *tx) enter(sql string) error {
	_, err := x.l.enter(sql)
	if errors.Is(err, errReleased) {
		return pgx.ErrTxClosed
	}
	return err
}

func (x *tx) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := x.enter("savepoint"); err != nil {
		return nil, err
	}
	defer x.l.leave()
	t, err := x.t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &tx{l: x.l, t: t}, nil
}

func (x *tx) Commit(ctx context.Context) error {
	return x.finish("commit", func() error { return x.t.Commit(ctx) })
}

func (x *tx) Rollback(ctx context.Context) error {
	return x.finish("rollback", func() error { return x.t.Rollback(ctx) })
}

func (x *tx) finish(sql string, end func() error) error {
	if err := x.enter(sql); err != nil {
		return err
	}
	if x.own {
		defer x.l.Release() // after leave
	}
	defer x.l.leave()
	return end()
}

func (x *tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := x.enter(sql); err != nil {
		return pgconn.CommandTag{}, err
	}
	defer x.l.leave()
	x.l.note(ctx, sql, args)
	return x.t.Exec(ctx, sql, args...)
}

func (x *tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := x.enter(sql); err != nil {
		return errRows{err: err}, err
	}
	defer x.l.leave()
	x.l.note(ctx, sql, args)
	r, err := x.t.Query(ctx, sql, args...)
	return x.l.openRows(r, err, nil)
}

func (x *tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := x.enter(sql); err != nil {
		return &row{err: err}
	}
	defer x.l.leave()
	x.l.note(ctx, sql, args)
	r, err := x.t.Query(ctx, sql, args...)
	return readRow(r, err, x.l.c)
}

func (x *tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if err := x.enter("batch"); err != nil {
		return errBatch{err: err}
	}
	defer x.l.leave()
	x.l.noteBatch(ctx, b)
	w := &batch{l: x.l}
	w.BatchResults = x.t.SendBatch(ctx, w.watch(b))
	x.l.opened(w)
	return w
}

func (x *tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if err := x.enter("copy " + table.Sanitize()); err != nil {
		return 0, err
	}
	defer x.l.leave()
	x.l.residue.trace = max(x.l.residue.trace, sqltext.AnyTrace) // of triggers
	return x.t.CopyFrom(ctx, table, columns, &safeSource{p: x.l.p, src: src})
}

func (x *tx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if err := x.enter(sql); err != nil {
		return nil, err
	}
	defer x.l.leave()
	x.l.residue.trace, x.l.residue.named = max(x.l.residue.trace, sqltext.AnyTrace), true
	return x.t.Prepare(ctx, name, sql)
}

// LargeObjects talk to the connection directly: see Lease.Conn.
func (x *tx) LargeObjects() pgx.LargeObjects {
	if !x.l.tookRaw() {
		_, t := dead()
		return t.LargeObjects()
	}
	return x.t.LargeObjects()
}

// Conn gives the connection itself away: see Lease.Conn.
func (x *tx) Conn() *pgx.Conn {
	return x.l.Conn()
}
