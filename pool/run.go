package pool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
)

// A statement on a lease, after enter; each function here sees to leave. With own, the lease is the statement's alone: it has the settings that this
// runs with, and if it did not run because it is stale it runs once more.

// runner is who pgx is asked through: the connection, or a transaction on it, which knows whether it has ended.
type runner interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
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

// stale reports whether err is of what c has just sent, and says that this was prepared before
// the schema, or the session, has changed. It did not run, and pgx has dropped it, so running it
// again heals that.
func (c *conn) stale(err error) bool {
	if err == nil || !c.wire.RefusedUnbound() || !pgerr.StalePlan(err) {
		return false
	}
	c.wire.Declined() // the settings are prepared anew with it
	return true
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

// readRow reads the first row of what a Query on l's connection returned, if any, into memory, and closes r.
func (l *Lease) readRow(r pgx.Rows, err error) *memrows.Row {
	if err != nil {
		return memrows.Failed(l.c.wrapError(err))
	}
	w := memrows.ReadRow(r, l.c.pg, &l.c.types)
	w.SetErr(l.c.wrapError(w.Err()))
	l.p.writer.Wrote(w.Tag())
	return w
}

// sendBatchOn leaves the result open. With own, its Close releases the lease.
func (l *Lease) sendBatchOn(ctx context.Context, on runner, b *pgx.Batch, own bool) (pgx.BatchResults, error) {
	defer l.leave()
	meant, named, err := l.meantBatch(ctx, b)
	if err != nil {
		return nil, l.c.wrapError(err)
	}
	l.noteBatch(ctx, b)
	if l.c.reach.Mode() == pgx.QueryExecModeExec { // in which pgx writes a batch past its frontend, and so past the wire
		if own && l.with != nil { // by BeforeConnect: the pool's mode is another
			return nil, errExecMode
		}
		l.c.wire.Passed()
	}
	w := &batch{l: l, releasesLease: own, named: named}
	defer func() {
		if w.BatchResults == nil { // code of the user's (a tracer, a Valuer) has panicked
			w.unname()
		}
	}()
	w.BatchResults = on.SendBatch(ctx, w.watch(meant))
	l.opened(w)
	return w, nil
}
