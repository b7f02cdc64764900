package pool

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/observe"
)

// rows are pgx's Rows on a lease. Each method enters the lease first, so that the end of the invocation can take the connection without a data race.
type rows struct {
	l             *Lease
	r             pgx.Rows
	releasesLease bool

	asked asked   // the Query, if the lease was acquired for it and no row was read yet; else zero
	query running // the Query, for those who are told when it is over

	// These stay readable after Close, when somebody else has the connection.
	done   bool
	err    error
	tag    pgconn.CommandTag
	fields []pgconn.FieldDescription
}

// asked has the arguments of a Query.
type asked struct {
	ctx  context.Context
	sql  string
	args []any
}

// query returns Rows that are open. If the lease was acquired for them, own is the call, and the end of the Rows releases the lease; else own is nil.
func (l *Lease) query(ctx context.Context, x *tx, sql string, args []any, own *running) (_ pgx.Rows, err error) {
	kept := own == nil
	defer l.releaseUnless(&kept)
	on, err := l.enterFor(ctx, x, sql)
	if err != nil {
		return memrows.FailedRows(err), err
	}
	defer l.leave()
	w := &rows{l: l, releasesLease: own != nil}
	if own != nil {
		w.query = *own
	} else {
		w.query = l.runs(ctx, x, observe.Query, sql)
	}
	if args, err = l.announce(ctx, sql, args, false); err != nil {
		return w.query.fails(err)
	}
	if w.r, err = on.Query(ctx, sql, args...); own != nil {
		w.asked = asked{ctx, sql, args}
		if l.c.stale(err) {
			w.r, err = on.Query(ctx, sql, args...)
		}
	}
	if err = w.wrapError(err); err != nil {
		return w.query.fails(err)
	}
	l.opened(w)
	kept = true
	return w, nil
}

// ofBatch makes rows of r, the result of one query in a batch on l.
func ofBatch(l *Lease, r pgx.Rows) *rows { return &rows{l: l, r: r} }

// wrapError is conn.wrapError. If the connection was lost before the caller has seen a row, and the statement has no effect, the error says that the
// caller may run the statement again. The pool does not run it again, since the caller has the Rows.
func (r *rows) wrapError(err error) error {
	err = r.l.c.wrapError(err)
	if q := r.asked.ctx; err != nil && q != nil {
		if by, may := r.l.p.mayRepeat(q, r.l, err); may && by.IsFresh() {
			return nothingLost("the connection of a read was lost", err)
		}
	}
	return err
}

func (r *rows) enter() bool {
	if r.done {
		return false
	}
	if err := r.l.resume(); err != nil {
		r.err = err
		if !errors.Is(err, errBusy) {
			r.err = pgerr.SentUnanswered(err)
			r.done = true
		}
		return false
	}
	return true
}

// finish closes the Rows, and keeps what the caller may still ask for: error, tag and fields. It runs between enter and left.
func (r *rows) finish() {
	r.r.Close()
	r.done = true
	r.err = r.wrapError(r.r.Err())
	r.tag = r.r.CommandTag()
	r.l.p.writer.Wrote(r.tag)
	r.fields = slices.Clone(r.r.FieldDescriptions())
	r.l.answered(r.err)
	r.l.closed(r)
	r.query.over(r.tag, r.err)
}

// left ends a call. It releases the lease if the rows are done and releasesLease is true.
func (r *rows) left() {
	r.l.leave()
	if r.done && r.releasesLease {
		r.l.Release()
	}
}

// closeResult closes the Rows for reclaim, when nobody else uses the connection.
func (r *rows) closeResult() {
	r.r.Close()
	r.query.over(r.r.CommandTag(), cmp.Or(r.r.Err(), ErrInvocationEnded))
}

func (r *rows) Close() {
	if r.enter() {
		defer r.left()
		r.finish()
	}
}

func (r *rows) Next() bool {
	if !r.enter() {
		return false
	}
	defer r.left()
	ok := r.r.Next()
	if q := &r.asked; !ok && q.ctx != nil && r.l.c.stale(r.r.Err()) && !pgxargs.MayChange(q.args) {
		if n, err := r.l.c.pg.Query(q.ctx, q.sql, q.args...); err == nil {
			r.r = n
			ok = n.Next()
		}
	}
	if ok {
		r.asked = asked{}
		r.l.answered(nil)
		return true
	}
	r.finish()
	return false
}

func (r *rows) Scan(dest ...any) error { return r.decode(func() error { return r.r.Scan(dest...) }) }

func (r *rows) Values() (v []any, err error) {
	err = r.decode(func() (err error) { v, err = r.r.Values(); return err })
	return v, err
}

// decode runs f on the current row. If f fails, decode closes r, as pgx does.
func (r *rows) decode(f func() error) error {
	if !r.enter() {
		return cmp.Or(r.err, memrows.ErrClosed)
	}
	defer r.left()
	err := f()
	if err != nil {
		r.finish()
	}
	return err
}

// open returns f(r.r) while r is open. After that it returns the value otherwise.
func open[T any](r *rows, f func(pgx.Rows) T, otherwise T) T {
	if !r.enter() {
		return otherwise
	}
	defer r.left()
	return f(r.r)
}

func (r *rows) RawValues() [][]byte           { return open(r, pgx.Rows.RawValues, nil) }
func (r *rows) TypeMap() *pgtype.Map          { return open(r, pgx.Rows.TypeMap, nil) }
func (r *rows) CommandTag() pgconn.CommandTag { return open(r, pgx.Rows.CommandTag, r.tag) }

func (r *rows) FieldDescriptions() []pgconn.FieldDescription {
	return open(r, pgx.Rows.FieldDescriptions, r.fields)
}

func (r *rows) Err() error {
	if !r.enter() {
		return r.err
	}
	defer r.left()
	if r.err != nil {
		return r.err
	}
	return r.l.c.wrapError(r.r.Err())
}

// Conn returns the raw connection: see Lease.Conn.
func (r *rows) Conn() *pgx.Conn { return r.l.Conn() }
