package pool

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/observe"
)

// begin starts a transaction on the lease, with the lease's settings, if any. If own is true, the end of the transaction releases the lease.
func (l *Lease) begin(ctx context.Context, opts pgx.TxOptions, own bool) (pgx.Tx, error) {
	mustHave(ctx)
	kept := !own
	defer l.releaseUnless(&kept)
	c, err := l.enter("begin")
	if err != nil {
		return nil, err
	}
	defer l.leave()
	if err := ctx.Err(); err != nil {
		return nil, pgerr.Unsent("begin", pgerr.EndedBefore(err))
	}
	if err := l.use.BeforeBegin(ctx, l.with, opts); err != nil {
		return nil, l.c.wrapError(err)
	}
	if l.with != nil {
		defer l.c.session.Bind(nil)
		if opts.BeginQuery == "" {
			l.c.wire.DeferBegin()
			defer l.c.wire.UndoDefer()
		}
	}
	if _, in := placeOf(ctx); in != nil && in.starting && in.within.Holds == nil {
		in.holding(&l.wish)
		if opts.BeginQuery == "" && opts.CommitQuery == "" && l.with == nil && c.PgConn().TxStatus() == 'I' && !l.gaveRaw() && l.c.reach.Mode != pgx.QueryExecModeExec {
			l.c.wire.DeferBegin()
			defer l.c.wire.UndoDefer()
		}
	}
	var t pgx.Tx
	r := l.runs(ctx, nil, observe.Begin, "begin")
	err = l.c.cancel.Uncancelable(ctx, func(ctx context.Context) (err error) {
		if t, err = c.BeginTx(ctx, opts); err == nil && l.with != nil {
			l.c.session.Bind(l.with) // the settings are sent behind the deferred BEGIN, in front of an empty statement
			err = c.PgConn().ExecParams(ctx, "", nil, nil, nil, nil).Read().Err
		}
		return err
	})
	if err != nil {
		if opts.BeginQuery == "" && l.c.stale(err) { // only BEGIN has run, and it was rolled back
			err = pgerr.NotRun("With: what sets the settings is not prepared any more", err)
		} else {
			err = l.c.wrapError(err)
		}
		r.over(pgconn.CommandTag{}, err)
		return nil, err
	}
	if !l.c.wire.BeginDeferred() {
		r.over(pgconn.CommandTag{}, nil)
	}
	kept = true
	l.c.session.Begun()
	l.c.wire.BeganTx() // pgx may have deallocated statements in front of BEGIN
	return newTx(l, t, own, nil), nil
}

func (x *tx) enter(ctx context.Context, sql string) error {
	_, err := x.l.enterFor(ctx, x, sql)
	return err
}

func (x *tx) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := x.enter(ctx, "savepoint"); err != nil {
		return nil, err
	}
	defer x.l.leave()
	t, err := x.t.Begin(ctx)
	if err != nil {
		return nil, x.l.c.wrapError(err)
	}
	return newTx(x.l, t, false, x), nil
}

// Commit with a ctx that has ended sends no COMMIT: it rolls the transaction back, and returns an error that says that nothing was committed.
func (x *tx) Commit(ctx context.Context) error {
	mustHave(ctx)
	if ctx.Err() == nil {
		return x.finish(ctx, "commit", x.t.Commit)
	}
	if err := x.Rollback(ctx); err != nil {
		return err
	}
	return pgerr.Unsent("commit", pgerr.EndedBefore(ctx.Err()))
}

// Rollback with a ctx that has ended rolls back all the same, where pgx would close the connection. If the transaction has its own connection, that
// happens in the background, since the caller has no time, and before the next user gets the connection. A savepoint, or a transaction on an acquired
// lease, is rolled back at once, since the caller may go on with the lease.
func (x *tx) Rollback(ctx context.Context) error {
	mustHave(ctx)
	if ctx.Err() != nil && x.releasesLease {
		x.accountForIdle()
		err := x.l.resume()
		if errors.Is(err, errReleased) {
			return pgx.ErrTxClosed
		}
		if err == nil {
			x.l.leave()
		}
		if err == nil || errors.Is(err, errStuck) {
			x.l.Release()
		}
		return err
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), x.l.p.cfg.cancelWait())
		defer cancel()
	}
	return x.finish(ctx, "rollback", x.t.Rollback)
}

func (x *tx) finish(ctx context.Context, sql string, end func(context.Context) error) error {
	err := x.enter(ctx, sql)
	if x.releasesLease && (err == nil || errors.Is(err, errUnsettled) || errors.Is(err, errStuck)) {
		defer x.l.Release() // after leave
	}
	if err != nil {
		return err
	}
	defer x.l.leave()
	x.l.use.BeforeEnd()
	x.accountForIdle()
	r := x.l.runs(ctx, x, observe.Op(sql), sql)
	err = x.l.c.cancel.Uncancelable(ctx, end)
	c := x.l.c
	if err != nil {
		sent := c.wire.Executed()
		if err = c.recordError(err); c.pg.PgConn().IsClosed() && !sent && !pgerr.DidNotRun(err) && !errors.Is(err, pgx.ErrTxClosed) {
			err = pgerr.NotRun("the connection was lost before "+sql+" was sent", err)
		}
		err = pgerr.Named(c.committed(err), inPgerr)
	}
	c.session.Ended()
	if x.releasesLease {
		c.confirmPrimary() // if a write of the transaction was refused
		x.lost = c.lost || c.maybeStandby && c.place.Fenced()
	}
	r.over(pgconn.CommandTag{}, err)
	return err
}

// endedInSQL reports whether a COMMIT or ROLLBACK in SQL has ended the transaction. pgx does not notice that.
func (x *tx) endedInSQL() bool {
	return x.l.is(func() bool { return x.l.state == leaseActive && (!x.l.inTx || x.l.c.wire.EndedInSQL()) })
}

// mayHaveEnded reports whether the last statement can have ended the transaction, and its answer was lost or not read to the end.
func (x *tx) mayHaveEnded() bool {
	x.l.mu.Lock()
	defer x.l.mu.Unlock()
	if x.l.state != leaseActive {
		return false
	}
	pc := x.l.c.pg.PgConn()
	return (pc.IsClosed() || pc.IsBusy()) && (x.l.raw || x.l.mayEndTx(x.l.sql))
}

// failedOver reports whether err means that x's connection was lost, or that its server has become a standby.
func (x *tx) failedOver(err error) bool {
	return x.releasesLease && x.lost && (pgerr.IsLost(err) || errors.Is(err, pgconn.ErrConnClosed) || pgerr.ReadOnly(err))
}

// mayEndTx reports whether sql may end the transaction that it runs in. sql is a text or the name of a prepared statement.
func (l *Lease) mayEndTx(sql string) bool {
	text, ok := l.c.session.TextOf(sql)
	return !ok || sqltext.MayEndTx(text)
}

func (x *tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return x.l.exec(ctx, x, sql, args, false)
}

func (x *tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return x.l.query(ctx, x, sql, args, nil)
}

func (x *tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return x.l.queryRow(ctx, x, sql, args, false)
}

func (x *tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return memrows.FailedBatch(errNoBatch, nil)
	}
	doing := "batch"
	if slices.ContainsFunc(b.QueuedQueries, func(q *pgx.QueuedQuery) bool { return x.l.mayEndTx(q.SQL) }) {
		doing = "a batch that may end its transaction"
	}
	return x.l.sendBatch(ctx, x, doing, b, false)
}

func (x *tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return x.l.copyFrom(ctx, x, table, columns, src)
}

func (x *tx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if err := x.enter(ctx, sql); err != nil {
		return nil, err
	}
	defer x.l.leave()
	x.l.use.Prepared(name, "")
	sd, err := x.t.Prepare(ctx, name, sql)
	if err == nil {
		x.l.use.Prepared(name, sql)
	}
	return sd, x.l.c.wrapError(err)
}

// LargeObjects returns pgx's, which send on the raw connection. The pool does not see that: see Lease.Conn.
func (x *tx) LargeObjects() pgx.LargeObjects {
	if !x.l.tookRaw() {
		return x.l.p.ended.Tx().LargeObjects()
	}
	return x.t.LargeObjects()
}

// Config returns a pgxpool.Config that has nothing but the mode. River's driver asks each transaction for its mode before each statement, by this method
// if there is one, and by Conn if not. After Conn the whole session is reset.
func (x *tx) Config() *pgxpool.Config {
	return &pgxpool.Config{ConnConfig: &pgx.ConnConfig{DefaultQueryExecMode: x.l.c.reach.Mode}}
}

// Conn returns the raw connection: see Lease.Conn.
func (x *tx) Conn() *pgx.Conn { return x.l.Conn() }
