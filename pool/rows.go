package pool

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgxargs"
)

// query runs sql on the lease. With own, closing the Rows releases the lease.
func (l *Lease) query(ctx context.Context, sql string, args []any, own bool) (pgx.Rows, error) {
	kept := !own
	defer l.releaseUnless(&kept)
	c, err := l.enter(sql)
	if err != nil {
		return memrows.FailedRows(err), err
	}
	defer l.leave()
	meant, err := l.meant(ctx, sql, args, false)
	if err != nil {
		err = l.c.wrapError(err)
		return memrows.FailedRows(err), err
	}
	l.note(ctx, sql, meant)
	r, err := c.Query(ctx, sql, meant...)
	if !own {
		return l.openRows(r, err, nil)
	}
	if l.c.stale(err) {
		r, err = c.Query(ctx, sql, meant...)
	}
	w, err := l.openRows(r, err, &asked{ctx, sql, meant})
	kept = err == nil
	return w, err
}

// openRows makes what a Query returned the lease's open result. asked is not nil if
// the lease is the result's own: what the Query was.
func (l *Lease) openRows(r pgx.Rows, err error, asked *asked) (pgx.Rows, error) {
	if err = l.c.wrapError(err); err != nil {
		if asked != nil {
			err = l.p.lostRead(asked.ctx, l, err)
		}
		return memrows.FailedRows(err), err
	}
	w := &rows{l: l, r: r, own: asked != nil, asked: asked}
	l.opened(w)
	return w, nil
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

// rows are pgx's Rows on a lease. Each method asks the lease first, so that the
// end of the invocation can take the connection from under rows that somebody
// still reads, without a data race.
type rows struct {
	l   *Lease
	r   pgx.Rows
	own bool

	asked *asked // what it was, if the lease is its own; nil once a row was read

	// what stays readable after Close, when the connection serves somebody else
	done   bool
	err    error
	tag    pgconn.CommandTag
	fields []pgconn.FieldDescription
}

// asked is what a Query was called with.
type asked struct {
	ctx  context.Context
	sql  string
	args []any
}

// query runs it on c.
func (q *asked) query(c *pgx.Conn) (pgx.Rows, error) { return c.Query(q.ctx, q.sql, q.args...) }

// mayChange reports whether an argument is a buffer, which its caller may use for something else as
// soon as a Query has returned: what is found to be stale later must not be sent again with it.
func mayChange(args []any) bool {
	for _, arg := range args {
		switch v := arg.(type) {
		case pgx.NamedArgs:
			if mayChange(slices.Collect(maps.Values(v))) {
				return true
			}
		case pgx.StrictNamedArgs:
			if mayChange(slices.Collect(maps.Values(v))) {
				return true
			}
		case nil, string, bool, int, int32, int64, float64, time.Time:
		default:
			if t := reflect.TypeOf(v); t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
				return true
			}
		}
	}
	return false
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

// finish keeps what the caller may still ask for. It runs between enter and leave.
func (r *rows) finish() {
	r.r.Close()
	r.done = true
	r.err = r.l.c.wrapError(r.r.Err())
	if r.asked != nil {
		r.err = r.l.p.lostRead(r.asked.ctx, r.l, r.err)
	}
	r.tag = r.r.CommandTag()
	r.l.p.writer.Wrote(r.tag)
	r.fields = slices.Clone(r.r.FieldDescriptions())
	r.l.answered(r.err)
	r.l.closed(r)
}

// left ends a call, and the lease too if the rows are done and own it.
func (r *rows) left() {
	r.l.leave()
	if r.done && r.own {
		r.l.Release()
	}
}

// closeResult is for reclaim, which has the connection to itself.
func (r *rows) closeResult() { r.r.Close() }

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
	if !ok && r.asked != nil && r.l.c.stale(r.r.Err()) && !pgxargs.MayChange(r.asked.args) {
		if n, err := r.asked.query(r.l.c.pg); err == nil {
			r.r = n
			ok = n.Next()
		}
	}
	if ok {
		r.asked = nil
		r.l.answered(nil)
		return true
	}
	r.finish()
	return false
}

func (r *rows) Scan(dest ...any) error {
	if !r.enter() {
		return r.notOpen()
	}
	defer r.left()
	err := r.r.Scan(dest...)
	if err != nil {
		r.finish()
	}
	return err
}

func (r *rows) Values() ([]any, error) {
	if !r.enter() {
		return nil, r.notOpen()
	}
	defer r.left()
	v, err := r.r.Values()
	if err != nil {
		r.finish()
	}
	return v, err
}

func (r *rows) RawValues() [][]byte {
	if !r.enter() {
		return nil
	}
	defer r.left()
	return r.r.RawValues()
}

func (r *rows) FieldDescriptions() []pgconn.FieldDescription {
	if !r.enter() {
		return r.fields
	}
	defer r.left()
	return r.r.FieldDescriptions()
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

func (r *rows) CommandTag() pgconn.CommandTag {
	if !r.enter() {
		return r.tag
	}
	defer r.left()
	return r.r.CommandTag()
}

// Conn gives the connection itself away: see Lease.Conn.
func (r *rows) Conn() *pgx.Conn {
	return r.l.Conn()
}

func (r *rows) TypeMap() *pgtype.Map {
	if !r.enter() {
		return nil
	}
	defer r.left()
	return r.r.TypeMap()
}

func (r *rows) notOpen() error {
	if r.err != nil {
		return r.err
	}
	return memrows.ErrClosed
}
