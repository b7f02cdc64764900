package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Bound is a pool all of whose statements and transactions run with settings, such as the tenant that row policies ask for. [Pool.With] makes one. It
// has no connection, holds nothing and needs no closing; it is safe for concurrent use. Its settings are not in any ctx: whoever has not got it runs
// without them.
type Bound struct {
	p   *Pool
	s   *session.Settings // a pointer, since values are secrets: no verb of fmt follows it
	err error             // of every use
}

// With returns the pool bound to settings, by name:
//
//	db := p.With(map[string]string{"app.tenant": tenant})
//	err := db.QueryRow(ctx, "select …", id).Scan(&v) // policies see current_setting('app.tenant')
//
// Each statement, batch, CopyFrom and transaction runs with them, as by SET LOCAL: they end with it, and nobody else ever sees them. They travel in
// the same packet as a query, INSERT, UPDATE, DELETE or MERGE, a batch, or BEGIN; if they fail, it does not run. Short reads ride lanes as they do
// without, if all settings have a dot in their name. If one is PostgreSQL's own (role, search_path, statement_timeout …), statements go alone, and a
// reset is due after each. What is not allowed is an error of every use.
//
// What is different from the pool itself:
//   - Any other command (CREATE, CALL, SET …), and CopyFrom, run in an explicit transaction, which
//     costs two round trips more. What cannot run in one (VACUUM), or wants to end one (a
//     procedure that commits), fails with PostgreSQL's own error.
//   - Nothing uses the simple protocol: Exec takes one statement, also without arguments, and
//     [pgx.QueryExecModeSimpleProtocol] is an error. So is a pool whose default_query_exec_mode is exec, in which
//     pgx sends batches past the pool: [Misconfigured] is true for it.
//   - A batch has queries, INSERT, UPDATE, DELETE, MERGE, SET, LOCK, NOTIFY and TRUNCATE only.
//
// A statement can change the settings for itself, so they protect from mistakes, not from whoever chooses the SQL. A custom setting that was once set
// on a connection is an empty string there afterwards, not NULL: PostgreSQL keeps its name. They take the transaction's snapshot: SET TRANSACTION
// comes too late behind them (use BeginTx), and in REPEATABLE READ a LOCK does not see what was committed while it waited. A function that reads a
// setting must not be declared IMMUTABLE: PostgreSQL would keep one tenant's result in the plan of a prepared statement. COPY FROM is refused by
// PostgreSQL for tables with row policies.
//
// With [Config.Plain] all runs in explicit transactions, three round trips more for each statement.
func (p *Pool) With(settings map[string]string) *Bound {
	b := &Bound{p: p}
	switch p.mode {
	case pgx.QueryExecModeSimpleProtocol:
		b.err = errSimpleMode
		return b
	case pgx.QueryExecModeExec:
		b.err = errExecMode
		return b
	}
	b.s, b.err = session.NewSettings(settings, p.mode != pgx.QueryExecModeCacheStatement)
	return b
}

// With returns b bound to settings too. They win over b's of the same name.
func (b *Bound) With(settings map[string]string) *Bound {
	if b.err != nil {
		return b
	}
	more := b.p.With(settings)
	if more.err != nil {
		return more
	}
	both := b.s.Values()
	maps.Copy(both, more.s.Values())
	return b.p.With(both)
}

// OpenScope is [Pool.OpenScope].
func (b *Bound) OpenScope(ctx context.Context, name string, deadline time.Time) (context.Context, *Scope) {
	return b.p.OpenScope(ctx, name, deadline)
}

// check refuses what would run without the settings.
func (b *Bound) check(args []any) error {
	if b.err == nil && pgxargs.Parse(args).Mode == pgx.QueryExecModeSimpleProtocol {
		return errSimpleMode
	}
	return b.err
}

// Exec is [Pool.Exec].
func (b *Bound) Exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	if err := b.check(args); err != nil {
		return tag, err
	}
	return b.p.engine.exec(ctx, b.s, sql, args)
}

// Query is [Pool.Query].
func (b *Bound) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := b.check(args); err != nil {
		return memrows.FailedRows(err), err
	}
	return b.p.engine.query(ctx, b.s, sql, args)
}

// QueryRow is [Pool.QueryRow].
func (b *Bound) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := b.check(args); err != nil {
		return memrows.Failed(err)
	}
	return b.p.engine.queryRow(ctx, b.s, sql, args)
}

// SendBatch is [Pool.SendBatch].
func (b *Bound) SendBatch(ctx context.Context, q *pgx.Batch) pgx.BatchResults {
	if q == nil {
		return memrows.FailedBatch(cmp.Or(b.err, errNoBatch), nil)
	}
	if err := b.checkBatch(q); err != nil {
		return b.p.failedBatch(q, err)
	}
	return b.p.engine.sendBatch(ctx, b.s, q)
}

// checkBatch refuses what could end the settings in the middle of a batch.
func (b *Bound) checkBatch(q *pgx.Batch) error {
	if b.err != nil {
		return b.err
	}
	for _, qq := range q.QueuedQueries {
		if o := pgxargs.Parse(qq.Arguments); o.Foreign() {
			return errors.New("lmipool: With: a batch cannot have a QueryRewriter but pgx's own: run it in a transaction")
		}
		if first := sqltext.First(qq.SQL); !slices.Contains(sqltext.Plainest, first) && !slices.Contains(sqltext.Batchable, first) {
			return fmt.Errorf("lmipool: With: a batch cannot have %q: run it by itself, or the batch in a transaction", sqltext.Cut(qq.SQL, 80))
		}
	}
	return nil
}

// CopyFrom is [Pool.CopyFrom].
func (b *Bound) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (n int64, err error) {
	if b.err != nil {
		return 0, b.err
	}
	err = b.inTx(ctx, func(t pgx.Tx) (err error) {
		n, err = t.CopyFrom(ctx, table, columns, src)
		return err
	})
	return n, err
}

// Begin is [Pool.Begin]. The settings are there until Commit or Rollback.
func (b *Bound) Begin(ctx context.Context) (pgx.Tx, error) {
	return b.BeginTx(ctx, pgx.TxOptions{})
}

// BeginTx is [Pool.BeginTx].
func (b *Bound) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.p.engine.beginTx(ctx, b.s, opts)
}

// Ping is [Pool.Ping]. It also says what is wrong with the settings, as far as is known without the server.
func (b *Bound) Ping(ctx context.Context) error {
	if b.err != nil {
		return b.err
	}
	return b.p.engine.ping(ctx)
}

// apart reports whether a statement needs an explicit transaction for settings, if any: all but the plainest do, since some end
// the implicit one, and the settings with it.
func apart(settings *session.Settings, sql string, args []any) bool {
	if settings == nil {
		return false
	}
	o := pgxargs.Parse(args)
	return o.Foreign() || !slices.Contains(sqltext.Plainest, sqltext.First(sql))
}

// bound is for what runs in a transaction with settings.
func (p *Pool) bound(settings *session.Settings) *Bound { return &Bound{p: p, s: settings} }

// execInTx runs a statement in a transaction of its own.
func (b *Bound) execInTx(ctx context.Context, sql string, args []any) (tag pgconn.CommandTag, err error) {
	err = b.inTx(ctx, func(t pgx.Tx) (err error) {
		tag, err = extended(ctx, t, sql, args)
		return err
	})
	return tag, err
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

// abandonUnless is for a call whose result ends the transaction, unless that fails, or code of the user's (a Valuer, a rewriter) panics in it.
func (e *txEnd) abandonUnless(kept *bool) {
	if !*kept {
		_ = e.end(errAbandonedTx)
	}
}

// rowsInTx runs a query in a transaction of its own, which ends with its Rows.
func (b *Bound) rowsInTx(ctx context.Context, sql string, args []any) (pgx.Rows, error) {
	t, err := b.Begin(ctx)
	if err != nil {
		return memrows.FailedRows(err), err
	}
	w := &txRows{end: txEnd{ctx: ctx, t: t}}
	kept := false
	defer w.end.abandonUnless(&kept)
	if w.Rows, err = t.Query(ctx, sql, args...); err != nil {
		return memrows.FailedRows(err), err
	}
	kept = true
	return w, nil
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
