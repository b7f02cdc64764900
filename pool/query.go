package pool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/session"
)

// Exec is [pgxpool.Pool.Exec].
func (p *Pool) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if p.cfg.Plain {
		return p.px.Exec(ctx, sql, args...)
	}
	return p.exec(ctx, nil, sql, args)
}

func (p *Pool) exec(ctx context.Context, with *session.Settings, sql string, args []any) (tag pgconn.CommandTag, err error) {
	err = p.rerun(ctx, func(again bool) (*Lease, error) {
		l, err := p.statement(ctx, again, with, kindStatement, sql, args, -1)
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
	return tag, err
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
	l, err := p.statement(ctx, false, with, kindQuery, sql, args, 2)
	if err != nil {
		return memrows.FailedRows(err), err
	}
	if r, types, rode := l.takeResult(); rode {
		return r.Rows(types), nil
	}
	return l.query(ctx, nil, sql, args, true)
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
	var row *memrows.Row
	_ = p.rerun(ctx, func(again bool) (*Lease, error) { // row has its error
		l, err := p.statement(ctx, again, with, kindStatement, sql, args, -1)
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
	return row
}

// SendBatch is [pgxpool.Pool.SendBatch]. The result holds a connection until its
// Close.
func (p *Pool) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return memrows.FailedBatch(errNoBatch)
	}
	if p.cfg.Plain {
		return p.px.SendBatch(ctx, b)
	}
	return p.sendBatch(ctx, nil, b)
}

func (p *Pool) sendBatch(ctx context.Context, with *session.Settings, b *pgx.Batch) pgx.BatchResults {
	l := &Lease{p: p, with: with, what: kindBatch}
	l.stack.Capture(2, gostack.Deep)
	if _, err := p.obtain(ctx, l); err != nil {
		return memrows.FailedBatch(err)
	}
	return l.sendBatch(ctx, nil, "batch", b, true)
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
	l, err := p.acquire(ctx, kindStatement, "", -1)
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

func (p *Pool) beginTx(ctx context.Context, with *session.Settings, opts pgx.TxOptions) (t pgx.Tx, err error) {
	if p.cfg.Plain {
		return p.px.BeginTx(ctx, opts)
	}
	err = p.rerun(ctx, func(bool) (*Lease, error) {
		l, err := p.acquire(ctx, kindTransaction, "", 4)
		if err != nil {
			return nil, err
		}
		l.with = with // not before: BEGIN does not run with them
		if t, err = l.begin(ctx, opts, true); err == nil {
			return l, nil
		}
		if _, in := placeOf(ctx); in != nil && in.within.Holds == &l.wish {
			in.holding(nil) // the next is
		}
		if opts.BeginQuery == "" { // it has begun nothing that would last
			err = nothingLost("the connection was lost at BEGIN", err)
		}
		return l, err
	})
	return t, err
}

// Ping gets a connection, dialing if need be, and checks that the server answers.
func (p *Pool) Ping(ctx context.Context) error {
	if p.cfg.Plain {
		return p.px.Ping(ctx)
	}
	return p.rerun(ctx, func(bool) (*Lease, error) {
		l, err := p.acquire(ctx, kindStatement, "ping", -1)
		if err != nil {
			return nil, err
		}
		defer l.Release()
		return l, nothingLost("the connection was lost at a ping", l.Ping(ctx))
	})
}
