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

// Bound is a pool whose statements and transactions run with settings, such as the tenant that row policies ask for. [Pool.With] makes one. A Bound
// holds no connection, needs no closing, and is safe for concurrent use. What runs on the pool itself runs without the settings.
type Bound struct {
	p   *Pool
	s   *session.Settings // a pointer, since fmt does not follow it: the values are secrets
	err error             // every use returns this error; nil if the settings are right
}

// With returns the pool bound to settings, by name:
//
//	db := p.With(map[string]string{"app.tenant": tenant})
//	err := db.QueryRow(ctx, "select …", id).Scan(&v) // policies see current_setting('app.tenant')
//
// Each statement, batch, CopyFrom and transaction runs with the settings, as with SET LOCAL: the settings end with it, and no other statement sees
// them. They are sent in the same packet as a query, INSERT, UPDATE, DELETE or MERGE, a batch, or BEGIN, which does not run if the settings fail. If
// all names have a dot, short reads ride as on the pool itself. If a setting is PostgreSQL's own (role, search_path, statement_timeout …), statements
// go alone, and a reset follows each. If a name or value is wrong, every use returns an error.
//
// A Bound differs from the pool itself:
//   - Any other command (CREATE, CALL, SET …) and CopyFrom run in an explicit transaction, which costs two more round trips. A command that cannot
//     run in a transaction (VACUUM), or that ends it (a procedure that commits), fails with PostgreSQL's own error.
//   - Nothing uses the simple protocol: Exec takes one statement, even without arguments, and [pgx.QueryExecModeSimpleProtocol] is an error. If
//     default_query_exec_mode is exec, in which pgx sends batches past the pool, every use is an error for which [Misconfigured] is true.
//   - A batch can have queries, INSERT, UPDATE, DELETE, MERGE, SET, LOCK, NOTIFY and TRUNCATE only.
//
// A statement can change the settings for itself: they protect from mistakes, not from somebody who chooses the SQL. Once a setting with a dot was set
// on a connection, PostgreSQL keeps its name: without With, current_setting returns an empty string there, not NULL. The settings take the
// transaction's snapshot, so SET TRANSACTION comes too late (use BeginTx), and in REPEATABLE READ a transaction that waits for a LOCK does not see
// what was committed meanwhile. Do not declare a function IMMUTABLE that reads a setting: PostgreSQL would keep one tenant's result in the plan of a
// prepared statement. PostgreSQL refuses COPY FROM for tables with row policies.
//
// With [Config.Plain] everything runs in explicit transactions, which costs three more round trips for each statement.
func (p *Pool) With(settings map[string]string) *Bound {
	p.on()
	b := &Bound{p: p}
	switch p.mode {
	case pgx.QueryExecModeSimpleProtocol:
		b.err = errSimpleMode
	case pgx.QueryExecModeExec:
		b.err = errExecMode
	default:
		if b.s, b.err = session.NewSettings(named(p.dialer.id, settings), p.mode != pgx.QueryExecModeCacheStatement); b.err != nil {
			b.err = pgerr.Wrap[pgerr.SettingsError](b.err)
		}
	}
	return b
}

// With returns the pool bound to b's settings and to settings. If both have a name, the value in settings counts.
func (b *Bound) With(settings map[string]string) *Bound {
	if b.fault() != nil {
		return b
	}
	more := b.p.With(settings)
	if more.err != nil {
		return more
	}
	both := maps.Clone(b.s.Values)
	maps.Copy(both, more.s.Values)
	return b.p.With(both)
}

// OpenScope is [Pool.OpenScope].
func (b *Bound) OpenScope(ctx context.Context, name string, deadline time.Time) (context.Context, *Scope) {
	if b == nil {
		panic(errNoBound)
	}
	return b.p.OpenScope(ctx, name, deadline)
}

// check returns b's error, or an error for a statement whose query mode would run it without the settings.
func (b *Bound) check(args []any) error {
	if err := b.fault(); err != nil || pgxargs.Parse(args).Mode != pgx.QueryExecModeSimpleProtocol {
		return err
	}
	return errSimpleMode
}

// fault returns the error of every use of b, or nil if b is right.
func (b *Bound) fault() error {
	if b == nil || b.p == nil {
		return errNoBound
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
	if q == nil || b.fault() == errNoBound { //nolint:errorlint // it is never wrapped
		return memrows.FailedBatch(cmp.Or(b.fault(), errNoBatch), nil)
	}
	if err := b.checkBatch(q); err != nil {
		return b.p.failedBatch(q, err)
	}
	return b.p.engine.sendBatch(ctx, b.s, q)
}

// checkBatch refuses a batch that could end the settings before its end.
func (b *Bound) checkBatch(q *pgx.Batch) error {
	if err := b.fault(); err != nil {
		return err
	}
	for _, qq := range q.QueuedQueries {
		if o := pgxargs.Parse(qq.Arguments); o.Foreign() {
			return pgerr.Say[pgerr.BatchError]("lmipool: With: a batch cannot have a QueryRewriter but pgx's own: run it in a transaction")
		}
		if first := sqltext.First(qq.SQL); !slices.Contains(sqltext.Plainest, first) && !slices.Contains(sqltext.Batchable, first) {
			return pgerr.Say[pgerr.BatchError](fmt.Sprintf("lmipool: With: a batch cannot have %q: run it by itself, or the batch in a transaction", sqltext.Shown(qq.SQL, 80)))
		}
	}
	return nil
}

// CopyFrom is [Pool.CopyFrom].
func (b *Bound) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (n int64, err error) {
	if err := b.fault(); err != nil {
		return 0, err
	}
	err = b.inTx(ctx, func(t pgx.Tx) (err error) {
		n, err = t.CopyFrom(ctx, table, columns, src)
		return err
	})
	return n, err
}

// Begin is [Pool.Begin]. The settings hold until Commit or Rollback.
func (b *Bound) Begin(ctx context.Context) (pgx.Tx, error) { return b.BeginTx(ctx, pgx.TxOptions{}) }

// BeginTx is [Pool.BeginTx].
func (b *Bound) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	if err := b.fault(); err != nil {
		return nil, err
	}
	return b.p.engine.beginTx(ctx, b.s, opts)
}

// Ping is [Pool.Ping]. It returns an error if a setting's name or value is wrong, but does not send the settings.
func (b *Bound) Ping(ctx context.Context) error {
	if err := b.fault(); err != nil {
		return err
	}
	return b.p.engine.ping(ctx)
}

// apart reports whether a statement with settings needs an explicit transaction: any but the plainest can end the implicit one, and so the settings.
func apart(settings *session.Settings, sql string, args []any) bool {
	if settings == nil {
		return false
	}
	o := pgxargs.Parse(args)
	return o.Foreign() || !slices.Contains(sqltext.Plainest, sqltext.First(sql))
}

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

// end commits if err is nil, and rolls back otherwise. It returns err, or the commit's error. A second call returns the first call's error.
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

// abandonUnless is deferred by calls whose result will end the transaction. If the call fails, or a Valuer or QueryRewriter panics, kept stays false.
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

// txRows are Rows in a transaction of their own, which they end when they are closed.
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
