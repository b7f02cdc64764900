package pool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/session"
)

// Exec is [pgxpool.Pool.Exec].
func (p *Pool) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if p.cfg.Plain {
		return p.px.Exec(ctx, sql, args...)
	}
	return p.exec(ctx, nil, sql, args)
}

func (p *Pool) exec(ctx context.Context, with *session.Settings, sql string, args []any) (pgconn.CommandTag, error) {
	var a tries
	for {
		tag, l, err := p.execOnce(ctx, a, with, sql, args)
		if !p.retry(ctx, &a, l, err) {
			return tag, err
		}
	}
}

// execOnce is one try. l is the lease that it had, if any.
func (p *Pool) execOnce(ctx context.Context, a tries, with *session.Settings, sql string, args []any) (tag pgconn.CommandTag, l *Lease, err error) {
	l, err = p.statement(ctx, a, with, "statement", sql, args, -1)
	if err != nil {
		return tag, nil, err
	}
	if r, _, rode := l.takeResult(); rode {
		return r.Tag(), nil, r.Err()
	}
	defer l.Release()
	tag, err = l.exec(ctx, sql, args, true)
	return tag, l, err
}

// Query is [pgxpool.Pool.Query]. The Rows hold a connection until they are closed
// or read to their end, unless the statement rode a lane: then they are in memory,
// and their Conn is a closed connection, which is of use for its TypeMap only.
func (p *Pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if p.cfg.Plain {
		return p.px.Query(ctx, sql, args...)
	}
	return p.query(ctx, nil, sql, args)
}

func (p *Pool) query(ctx context.Context, with *session.Settings, sql string, args []any) (pgx.Rows, error) {
	l, err := p.statement(ctx, tries{}, with, "query", sql, args, 2)
	if err != nil {
		return memrows.FailedRows(err), err
	}
	if r, types, rode := l.takeResult(); rode {
		return r.Rows(types), nil
	}
	return l.query(ctx, sql, args, true)
}

// QueryRow is [pgxpool.Pool.QueryRow], but the row is read and the connection is
// free when QueryRow returns. Scan decodes from memory; not calling it loses
// nothing. Errors come from Scan, as in pgx.
func (p *Pool) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if p.cfg.Plain {
		return p.px.QueryRow(ctx, sql, args...)
	}
	return p.queryRow(ctx, nil, sql, args)
}

func (p *Pool) queryRow(ctx context.Context, with *session.Settings, sql string, args []any) pgx.Row {
	var a tries
	for {
		r, l := p.queryRowOnce(ctx, a, with, sql, args)
		if !p.retry(ctx, &a, l, r.Err()) {
			return r
		}
	}
}

// queryRowOnce is one try. l is the lease that it had, if any.
func (p *Pool) queryRowOnce(ctx context.Context, a tries, with *session.Settings, sql string, args []any) (r *memrows.Row, l *Lease) {
	l, err := p.statement(ctx, a, with, "statement", sql, args, -1)
	if err != nil {
		return memrows.Failed(err), nil
	}
	if r, types, rode := l.takeResult(); rode {
		return r.Row(types), nil
	}
	defer l.Release()
	return l.queryRow(ctx, sql, args, true), l
}

// SendBatch is [pgxpool.Pool.SendBatch]. The result holds a connection until its
// Close.
func (p *Pool) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return errBatch{err: errNoBatch}
	}
	if p.cfg.Plain {
		return p.px.SendBatch(ctx, b)
	}
	return p.sendBatch(ctx, nil, b)
}

func (p *Pool) sendBatch(ctx context.Context, with *session.Settings, b *pgx.Batch) pgx.BatchResults {
	l := &Lease{p: p, with: with, what: "batch"}
	l.stack.Capture(2, gostack.Deep)
	if _, err := p.obtain(ctx, l); err != nil {
		return errBatch{err: err}
	}
	return l.sendBatch(ctx, b, true)
}

// CopyFrom is [pgxpool.Pool.CopyFrom], but returns when ctx ends, also if src is slow: within twice CancelWait, when the server has said that
// nothing was copied and src's call that was running has returned. If that call, or that of a method of one of its values, takes longer it
// runs on, and is the last one: until it has returned src must not be used for anything else.
func (p *Pool) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if src == nil {
		return 0, errNoSource
	}
	if p.cfg.Plain {
		return p.px.CopyFrom(ctx, table, columns, src)
	}
	l, err := p.acquire(ctx, "statement", "", -1)
	if err != nil {
		return 0, err
	}
	defer l.Release()
	return l.CopyFrom(ctx, table, columns, src)
}

// Begin starts a transaction. The connection is held until Commit or Rollback; ctx
// affects only the begin, as in pgx.
func (p *Pool) Begin(ctx context.Context) (pgx.Tx, error) {
	return p.beginTx(ctx, nil, pgx.TxOptions{})
}

// BeginTx is Begin with options.
func (p *Pool) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return p.beginTx(ctx, nil, opts)
}

func (p *Pool) beginTx(ctx context.Context, with *session.Settings, opts pgx.TxOptions) (pgx.Tx, error) {
	if p.cfg.Plain {
		return p.px.BeginTx(ctx, opts)
	}
	var a tries
	for {
		l, err := p.acquire(ctx, "transaction", "", 2)
		if err != nil {
			return nil, err
		}
		l.with = with // not before: BEGIN does not run with them
		t, err := l.begin(ctx, opts, true)
		if err == nil {
			return t, nil
		}
		if _, in := placeOf(ctx); in != nil && in.lease == l {
			in.holding(nil) // the next is
		}
		if pgerr.IsLost(err) && !pgerr.DidNotRun(err) && opts.BeginQuery == "" { // it has begun nothing that would last
			err = pgerr.NotRun("the connection was lost at BEGIN", err)
		}
		if !p.retry(ctx, &a, l, err) {
			return nil, err
		}
	}
}

// Ping gets a connection, dialing if need be, and checks that the server answers.
func (p *Pool) Ping(ctx context.Context) error {
	if p.cfg.Plain {
		return p.px.Ping(ctx)
	}
	var a tries
	for {
		l, err := p.acquire(ctx, "statement", "ping", -1)
		if err != nil {
			return err
		}
		err = l.Ping(ctx)
		l.Release()
		if pgerr.IsLost(err) && !pgerr.DidNotRun(err) {
			err = pgerr.NotRun("the connection was lost at a ping", err)
		}
		if !p.retry(ctx, &a, l, err) {
			return err
		}
	}
}
