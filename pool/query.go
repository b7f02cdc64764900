package pool

import (
	"cmp"
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/observe"
)

// Exec is [pgxpool.Pool.Exec]. It holds a connection while it runs.
func (p *Pool) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return p.on().exec(ctx, nil, sql, args)
}

func (p pooled) exec(ctx context.Context, with *session.Settings, sql string, args []any) (tag pgconn.CommandTag, err error) {
	if apart(with, sql, args) {
		return p.bound(with).execInTx(ctx, sql, args)
	}
	m := running{p: p.Pool, ctx: ctx, op: observe.Exec, sql: sql}
	err = p.rerun(ctx, func(bool) (*Lease, error) {
		l, err := p.statement(ctx, &m.meter, with, kindStatement, sql, args, -1)
		if err != nil {
			return nil, err
		}
		if r, _, rode := l.takeResult(); rode {
			tag = r.Tag()
			return nil, r.Err()
		}
		defer l.Release()
		tag, err = l.exec(ctx, nil, sql, args, true)
		return l, err
	})
	m.over(tag, err)
	return tag, err
}

// Query is [pgxpool.Pool.Query]. The Rows hold a connection until they are closed or read to their end. If the statement rode, the Rows are in memory
// and hold no connection: their Conn returns a closed connection, whose TypeMap can be used.
func (p *Pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return p.on().query(ctx, nil, sql, args)
}

func (p pooled) query(ctx context.Context, with *session.Settings, sql string, args []any) (pgx.Rows, error) {
	if apart(with, sql, args) {
		return p.bound(with).rowsInTx(ctx, sql, args)
	}
	m := running{p: p.Pool, ctx: ctx, op: observe.Query, sql: sql}
	l, err := p.statement(ctx, &m.meter, with, kindQuery, sql, args, 2)
	if err != nil {
		return m.fails(err)
	}
	if r, types, rode := l.takeResult(); rode {
		m.over(r.Tag(), r.Err())
		return r.Rows(types), nil
	}
	return l.query(ctx, nil, sql, args, &m)
}

// QueryRow is [pgxpool.Pool.QueryRow], but reads the row at once: the connection is free when QueryRow returns, even if Scan is never called. Scan
// decodes from memory. Errors come from Scan, as in pgx.
func (p *Pool) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return p.on().queryRow(ctx, nil, sql, args)
}

func (p pooled) queryRow(ctx context.Context, with *session.Settings, sql string, args []any) pgx.Row {
	var row *memrows.Row
	if apart(with, sql, args) {
		err := p.bound(with).inTx(ctx, func(t pgx.Tx) error {
			row = t.QueryRow(ctx, sql, args...).(*memrows.Row)
			return row.Err()
		})
		if err != nil && (row == nil || row.Err() == nil) {
			return memrows.Failed(err)
		}
		return row
	}
	m := running{p: p.Pool, ctx: ctx, op: observe.Query, sql: sql}
	_ = p.rerun(ctx, func(bool) (*Lease, error) { // row has its error
		l, err := p.statement(ctx, &m.meter, with, kindStatement, sql, args, -1)
		if err != nil {
			row = memrows.Failed(err)
			return nil, err
		}
		if r, types, rode := l.takeResult(); rode {
			row = r.Row(types)
			return nil, row.Err()
		}
		defer l.Release()
		row = l.queryRow(ctx, nil, sql, args, true)
		return l, row.Err()
	})
	m.over(row.Tag(), row.Err())
	return row
}

// SendBatch is [pgxpool.Pool.SendBatch]. The result holds a connection until it is closed.
func (p *Pool) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return memrows.FailedBatch(errNoBatch, nil)
	}
	return p.on().sendBatch(ctx, nil, b)
}

func (p pooled) sendBatch(ctx context.Context, with *session.Settings, b *pgx.Batch) pgx.BatchResults {
	l, err := p.acquire(ctx, with, kindBatch, "", 2)
	if err != nil {
		return p.failedBatch(b, err)
	}
	return l.sendBatch(ctx, nil, "batch", b, true)
}

// CopyFrom is [pgxpool.Pool.CopyFrom], but returns within twice CancelWait after ctx has ended, even if src is slow. It returns earlier if the server
// has said that nothing was copied, and the call of src that was running has returned. If that call, or a method of one of its values, takes longer,
// it goes on, and no other call follows. Do not use src for anything else until that call has returned.
func (p *Pool) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if src == nil {
		return 0, errNoSource
	}
	return p.on().copyFrom(ctx, table, columns, src)
}

func (p pooled) copyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	l, err := p.acquire(ctx, nil, kindStatement, "", -1)
	if err != nil {
		return 0, err
	}
	defer l.Release()
	return l.CopyFrom(ctx, table, columns, src)
}

// Begin starts a transaction. It holds a connection until Commit or Rollback. ctx bounds only Begin itself, as in pgx.
func (p *Pool) Begin(ctx context.Context) (pgx.Tx, error) { return p.BeginTx(ctx, pgx.TxOptions{}) }

// BeginTx is Begin with options.
func (p *Pool) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return p.on().beginTx(ctx, nil, opts)
}

func (p pooled) beginTx(ctx context.Context, with *session.Settings, opts pgx.TxOptions) (t pgx.Tx, err error) {
	err = p.rerun(ctx, func(bool) (*Lease, error) {
		l, err := p.acquire(ctx, nil, kindTransaction, "", 4)
		if err != nil {
			return nil, err
		}
		l.runsWith(with)
		if t, err = l.begin(ctx, opts, true); err == nil {
			return l, nil
		}
		if _, in := placeOf(ctx); in != nil && in.within.Holds == &l.wish {
			in.holding(nil) // the next try has another lease
		}
		if opts.BeginQuery == "" { // a plain BEGIN has no effect after the connection is lost; a BeginQuery may have one
			err = nothingLost("the connection was lost at BEGIN", err)
		}
		return l, err
	})
	return t, err
}

// Ping gets a connection as [Pool.Acquire] does, and checks that the server answers.
func (p *Pool) Ping(ctx context.Context) error { return p.on().ping(ctx) }

func (p pooled) ping(ctx context.Context) error {
	return p.rerun(ctx, func(bool) (*Lease, error) {
		l, err := p.acquire(ctx, nil, kindStatement, "ping", -1)
		if err != nil {
			return nil, err
		}
		defer l.Release()
		return l, nothingLost("the connection was lost at a ping", l.Ping(ctx))
	})
}

// Exec is [pgx.Conn.Exec].
func (l *Lease) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return l.on().Exec(ctx, sql, args...)
}

func (w leased) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return w.l.exec(ctx, nil, sql, args, false)
}

// Query is [pgx.Conn.Query]. The lease is busy until the Rows are closed.
func (l *Lease) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return l.on().Query(ctx, sql, args...)
}

func (w leased) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return w.l.query(ctx, nil, sql, args, nil)
}

// QueryRow is [pgx.Conn.QueryRow], but reads the row at once: the lease is free when QueryRow returns, even if Scan is never called.
func (l *Lease) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return l.on().QueryRow(ctx, sql, args...)
}

func (w leased) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return w.l.queryRow(ctx, nil, sql, args, false)
}

// SendBatch is [pgx.Conn.SendBatch]. The lease is busy until the result is closed.
func (l *Lease) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return memrows.FailedBatch(errNoBatch, nil)
	}
	return l.on().SendBatch(ctx, b)
}

func (w leased) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return w.l.sendBatch(ctx, nil, "batch", b, false)
}

// CopyFrom is [pgx.Conn.CopyFrom], but returns when ctx ends: see [Pool.CopyFrom]. While a method of one of src's values hangs, the lease stays busy.
func (l *Lease) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if src == nil {
		return 0, errNoSource
	}
	return l.on().CopyFrom(ctx, table, columns, src)
}

func (w leased) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return w.l.copyFrom(ctx, nil, table, columns, src)
}

// Begin starts a transaction on the lease. The end of the transaction does not release the lease.
func (l *Lease) Begin(ctx context.Context) (pgx.Tx, error) { return l.BeginTx(ctx, pgx.TxOptions{}) }

// BeginTx is Begin with options.
func (l *Lease) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return l.on().BeginTx(ctx, opts)
}

func (w leased) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return w.l.begin(ctx, opts, false)
}

// Ping checks that the server answers.
func (l *Lease) Ping(ctx context.Context) error { return l.on().Ping(ctx) }

func (w leased) Ping(ctx context.Context) error {
	mustHave(ctx)
	l := w.l
	c, err := l.enter("ping")
	if err != nil {
		return err
	}
	defer l.leave()
	return l.c.wrapError(c.Ping(ctx))
}

// tries counts the failed tries of one call outside a transaction.
type tries struct {
	began time.Time // when the first try began; zero until it has failed
	n     int       // how many tries have failed
}

// rerun runs a call outside a transaction as often as retry wants. once makes one try and returns the try's lease, if any. again means a later try.
func (p *Pool) rerun(ctx context.Context, once func(again bool) (*Lease, error)) error {
	var a tries
	for {
		l, err := once(a.n > 0)
		if !p.retry(ctx, &a, l, err) {
			if err == nil && l != nil && l.what == kindStatement && l.released() {
				l.spare()
			}
			return err
		}
	}
}

// nothingLost returns err, a failed call's error. The call has no effect, so if the connection was lost, the returned error says that it did not run.
func nothingLost(why string, err error) error {
	if pgerr.IsLost(err) && !pgerr.DidNotRun(err) {
		return pgerr.NotRun(why, err)
	}
	return err
}

// retry reports whether a call that has failed with err has to run once more, and waits before that. That is so if the call certainly has not run: it
// was not sent, or a standby refused it, or its session could not be reset. It is also so, once, for a read that could ride and lost its connection.
func (p *Pool) retry(ctx context.Context, a *tries, l *Lease, err error) bool {
	if err == nil || l == nil {
		return false
	}
	a.began = cmp.Or(a.began, l.wish.Asked)
	switch {
	case pgerr.DidNotRun(err):
		if !p.waitToRetry(ctx, a) {
			return false
		}
	case a.n > 0 || l.repeats || ctx.Err() != nil:
		return false
	default:
		by, may := p.mayRepeat(ctx, l, err)
		if !may {
			return false
		}
		sleep(ctx, afterLoss)
		if !p.confirms(ctx, by) {
			return false
		}
		p.stats.reruns.Add(1)
	}
	a.n++
	return true
}

// waitToRetry waits before a call that did not run tries another connection. It returns false if the call has to give up. The second try is at once,
// since usually the first connection had died while it was idle. Later tries wait: a pooler whose server is gone accepts each connection and closes it
// at its first message, and would be dialed a thousand times a second. Without a deadline, tries end when a caller would give up a server that is away.
func (p *Pool) waitToRetry(ctx context.Context, a *tries) bool {
	switch _, bounded := ctx.Deadline(); {
	case ctx.Err() != nil:
		return false
	case a.n == 0:
		return true
	case !bounded && time.Since(a.began) >= sched.AwayPatience*p.cfg.ConnectTimeout:
		return false
	}
	return pause(ctx, a.n-1)
}

// mayRepeat reports whether err says that the connection was lost, and l's statement could ride if it were faster: then it has no effect. by are the facts
// that say so. They may be as old as the connection was idle, and meanwhile what the statement reads from may have been made to write.
func (p *Pool) mayRepeat(ctx context.Context, l *Lease, err error) (by facts.Proven, may bool) {
	if p.cfg.Rerun == Off || !pgerr.IsLost(err) || !p.rides || ctx.Value(aloneKey{}) != nil || !l.with.Custom() {
		return by, false
	}
	o := pgxargs.Parse(l.args)
	sql, _, ok := o.Rewritten(ctx, l.sql)
	if !ok || !o.Few() || len(sql) > catalog.MaxText {
		return by, false
	}
	return p.lanes.Catalog.Find(sql, l.with.Key()).IsHarmless()
}

// confirms asks the server, on another connection, whether by still holds, and so held when the statement ran.
func (p *Pool) confirms(ctx context.Context, by facts.Proven) bool {
	l, err := p.acquire(ctx, nil, kindStatement, "", -1)
	if err != nil {
		return false
	}
	defer l.Release()
	if _, err := l.enter(""); err != nil {
		return false
	}
	defer l.leave()
	s := &l.c.session
	return by.Holds(s.Facts) && by.Confirm(ctx, s.Subject().Answers)
}
