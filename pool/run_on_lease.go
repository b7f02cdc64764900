package pool

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/copyin"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/observe"
)

// The functions here run a statement on a lease. x is the statement's transaction, or nil. If own is true, the lease was acquired for this statement
// alone: the lease's settings are the statement's, and the statement runs once more if it did not run because its prepared form is stale.

// tx is pgx's Tx on a lease: a transaction, or a savepoint inside one. After its own end its methods return [pgx.ErrTxClosed], so that a deferred
// Rollback is safe. After the invocation's end they return [ErrInvocationEnded].
type tx struct {
	l             *Lease
	t             pgx.Tx
	releasesLease bool // the end of the transaction releases the lease
	outer         *tx  // the transaction around a savepoint; nil if x is no savepoint
	lost          bool // when the transaction ended, the connection was lost, or the server had become a standby

	began time.Time     // when the transaction was begun; zero once its idle time is accounted for
	ran   time.Duration // how long its statements have taken
}

func newTx(l *Lease, t pgx.Tx, own bool, outer *tx) *tx {
	return &tx{l: l, t: t, releasesLease: own, outer: outer, began: time.Now()}
}

// accountForIdle adds to the account of x's invocation, once, how long x was open and ran nothing.
func (x *tx) accountForIdle() {
	if x.outer == nil && x.l.scope != nil && !x.began.IsZero() {
		x.l.scope.account.IdleInTx(time.Since(x.began) - x.ran)
	}
	x.began = time.Time{}
}

// runner has pgx's methods that run a statement. It is a *pgx.Conn, or a pgx.Tx, which refuses statements after its end.
type runner interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
}

// enterFor is enter, but returns x's pgx.Tx if x is not nil.
func (l *Lease) enterFor(ctx context.Context, x *tx, sql string) (runner, error) {
	mustHave(ctx)
	c, err := l.enter(sql)
	switch {
	case x == nil:
		return c, err
	case errors.Is(err, errReleased):
		err = pgx.ErrTxClosed
	}
	return x.t, err
}

// announce tells the session which statement is about to run, and returns the arguments for it. If simple is true, pgx may use the simple protocol.
func (l *Lease) announce(ctx context.Context, sql string, args []any, simple bool) ([]any, error) {
	meant, err := l.use.BeforeStatement(ctx, l.st, sql, args, simple)
	return meant, l.c.wrapError(err)
}

func (l *Lease) exec(ctx context.Context, x *tx, sql string, args []any, own bool) (tag pgconn.CommandTag, err error) {
	on, err := l.enterFor(ctx, x, sql)
	if err != nil {
		return tag, err
	}
	defer l.leave()
	var r running
	if !own {
		r = l.runs(ctx, x, observe.Exec, sql)
	}
	simple := !own || l.with == nil
	args, err = l.announce(ctx, sql, args, simple)
	if err != nil {
		r.over(tag, err)
		return tag, err
	}
	for again := own; ; again = false {
		if simple {
			tag, err = on.Exec(ctx, sql, args...)
		} else {
			tag, err = extended(ctx, on, sql, args)
		}
		if !again || !l.c.stale(err) {
			break
		}
	}
	l.answered(err)
	l.p.writer.Wrote(tag)
	err = l.c.wrapError(err)
	r.over(tag, err)
	return tag, err
}

// extended is Exec in the extended protocol. pgx's own Exec uses the simple protocol if there are no arguments.
func extended(ctx context.Context, on runner, sql string, args []any) (pgconn.CommandTag, error) {
	r, err := on.Query(ctx, sql, args...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	r.Close()
	return r.CommandTag(), r.Err()
}

// queryRow runs a query and reads the first row into memory.
func (l *Lease) queryRow(ctx context.Context, x *tx, sql string, args []any, own bool) *memrows.Row {
	on, err := l.enterFor(ctx, x, sql)
	if err != nil {
		return memrows.Failed(err)
	}
	defer l.leave()
	var r running
	if !own {
		r = l.runs(ctx, x, observe.Query, sql)
	}
	if args, err = l.announce(ctx, sql, args, false); err != nil {
		r.over(pgconn.CommandTag{}, err)
		return memrows.Failed(err)
	}
	w := l.readRow(on.Query(ctx, sql, args...))
	if own && l.c.stale(w.Err()) {
		w = l.readRow(on.Query(ctx, sql, args...))
	}
	l.answered(w.Err())
	r.over(w.Tag(), w.Err())
	return w
}

// readRow reads the first row of r, if any, into memory, and closes r. A Query on l's connection has returned r and err.
func (l *Lease) readRow(r pgx.Rows, err error) *memrows.Row {
	if err != nil {
		return memrows.Failed(l.c.wrapError(err))
	}
	w := memrows.ReadRow(r, l.c.pg, &l.c.types)
	w.SetErr(l.c.wrapError(w.Err()))
	l.p.writer.Wrote(w.Tag())
	return w
}

// stale reports whether err says that the statement that c has just sent did not run because the schema or the session has changed since the statement
// was prepared. Then pgx has dropped the prepared form, and the statement can run again.
func (c *conn) stale(err error) bool {
	if err == nil || !c.wire.RefusedUnbound() || !pgerr.StalePlan(err) {
		return false
	}
	c.wire.Declined() // forgets the error of the settings in front of the statement: they are sent again, too
	return true
}

func (l *Lease) copyFrom(ctx context.Context, x *tx, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if src == nil {
		return 0, errNoSource
	}
	on, err := l.enterFor(ctx, x, "copy "+table.Sanitize())
	if err != nil {
		return 0, err
	}
	var encoding <-chan struct{}
	defer func() {
		if encoding == nil {
			l.leave()
		} else { // a method of a value hangs. Until it returns nobody else may use the connection's types, and the lease's end cuts the connection off
			l.leaveAfter(encoding)
		}
	}()
	r := l.runs(ctx, x, observe.Copy, "copy "+table.Sanitize())
	if err := l.use.BeforeCopy(ctx, copyin.Insert(table, columns)); err != nil {
		err = l.c.wrapError(err)
		r.over(pgconn.CommandTag{}, err)
		return 0, err
	}
	y := copyin.Copy{Table: table, Columns: columns, From: src, In: on, Tracer: l.c.copies, Catch: l.p.catchPanic, Wait: l.p.cfg.cancelWait()}
	n, encoding, err := y.Run(ctx, l.c.pg)
	l.p.writer.Copied(err)
	err = l.c.wrapError(err)
	r.copied = n
	r.over(pgconn.CommandTag{}, err)
	return n, err
}
