package pool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/copyin"
	"github.com/lmipool/lmipool/internal/memrows"
)

// A statement on a lease, after enter; each function here sees to leave. With own, the lease is the statement's alone: it has the settings that this
// runs with, and if it did not run because it is stale it runs once more.

// runner is who pgx is asked through: the connection, or a transaction on it, which knows whether it has ended.
type runner interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
}

// announce notes what is about to run, and returns args as they have to be for sql to mean what it says.
func (l *Lease) announce(ctx context.Context, sql string, args []any, simple bool) ([]any, error) {
	meant, err := l.meant(ctx, sql, args, simple)
	if err != nil {
		return nil, l.c.wrapError(err)
	}
	l.note(ctx, sql, meant)
	return meant, nil
}

func (l *Lease) execOn(ctx context.Context, on runner, sql string, args []any, own bool) (tag pgconn.CommandTag, err error) {
	defer l.leave()
	simple := !own || l.with == nil
	args, err = l.announce(ctx, sql, args, simple)
	if err != nil {
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
	return tag, l.c.wrapError(err)
}

// extended is Exec by the extended protocol, which pgx's own uses only if there are arguments.
func extended(ctx context.Context, on runner, sql string, args []any) (pgconn.CommandTag, error) {
	r, err := on.Query(ctx, sql, args...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	r.Close()
	return r.CommandTag(), r.Err()
}

// queryOn leaves the Rows open. With own, their end releases the lease.
func (l *Lease) queryOn(ctx context.Context, on runner, sql string, args []any, own bool) (pgx.Rows, error) {
	defer l.leave()
	args, err := l.announce(ctx, sql, args, false)
	if err != nil {
		return memrows.FailedRows(err), err
	}
	w := &rows{l: l, releasesLease: own}
	if w.r, err = on.Query(ctx, sql, args...); own {
		w.asked = asked{ctx, sql, args}
		if l.c.stale(err) {
			w.r, err = w.asked.query(l.c.pg)
		}
	}
	if err = w.wrapError(err); err != nil {
		return memrows.FailedRows(err), err
	}
	l.opened(w)
	return w, nil
}

// queryRowOn reads the row at once.
func (l *Lease) queryRowOn(ctx context.Context, on runner, sql string, args []any, own bool) *memrows.Row {
	defer l.leave()
	args, err := l.announce(ctx, sql, args, false)
	if err != nil {
		return memrows.Failed(err)
	}
	w := l.readRow(on.Query(ctx, sql, args...))
	if own && l.c.stale(w.Err()) {
		w = l.readRow(on.Query(ctx, sql, args...))
	}
	l.answered(w.Err())
	return w
}

func (l *Lease) copyOn(ctx context.Context, on runner, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	var encoding <-chan struct{}
	defer func() {
		if encoding == nil {
			l.leave()
			return
		}
		// Until the value lets go the lease is in a call, so nobody uses its connection's types beside it; its end tears the connection away.
		l.leaveAfter(encoding)
	}()
	l.heard()
	if _, err := l.settled(ctx); err != nil {
		return 0, err
	}
	l.note(ctx, copyin.Insert(table, columns), nil)
	y := copyin.Copy{Table: table, Columns: columns, From: src, In: on, Tracer: l.c.copies, Catch: l.p.catchPanic, Wait: l.p.cancelWait()}
	n, encoding, err := y.Run(ctx, l.c.pg)
	l.p.writer.Copied(err)
	return n, l.c.wrapError(err)
}
