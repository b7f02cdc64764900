package stdlib

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/pool"
)

// Conn is a virtual connection: what the function of (*sql.Conn).Raw gets. It has a lease while it needs one. Like every driver.Conn it is for one
// goroutine at a time.
type Conn struct {
	of    *connector
	ctx   context.Context // the ctx of the caller who has it now, until it is given back
	lease *pool.Lease     // nil while no session is needed
}

// These are the interfaces by which database/sql knows what a Conn can do.
var (
	_ driver.ConnBeginTx        = (*Conn)(nil)
	_ driver.ConnPrepareContext = (*Conn)(nil)
	_ driver.ExecerContext      = (*Conn)(nil)
	_ driver.NamedValueChecker  = (*Conn)(nil)
	_ driver.Pinger             = (*Conn)(nil)
	_ driver.QueryerContext     = (*Conn)(nil)
	_ driver.SessionResetter    = (*Conn)(nil)
	_ driver.Validator          = (*Conn)(nil)
)

// formats are the types whose values pgx's stdlib wants in binary form. It wants all others as text.
var formats = pgx.QueryResultFormatsByOID{
	pgtype.BoolOID: 1, pgtype.ByteaOID: 1, pgtype.CIDOID: 1, pgtype.DateOID: 1, pgtype.Float4OID: 1, pgtype.Float8OID: 1, pgtype.Int2OID: 1,
	pgtype.Int4OID: 1, pgtype.Int8OID: 1, pgtype.OIDOID: 1, pgtype.TimestampOID: 1, pgtype.TimestamptzOID: 1, pgtype.XIDOID: 1,
}

// ResetSession is called before a virtual connection is used again.
func (c *Conn) ResetSession(ctx context.Context) error {
	c.ctx = ctx
	return nil
}

// IsValid is called when the virtual connection is given back, so it gives the lease back.
func (c *Conn) IsValid() bool {
	c.release()
	return true
}

// Close gives the lease back.
func (c *Conn) Close() error {
	c.release()
	return nil
}

func (c *Conn) release() {
	if c.lease != nil {
		c.lease.Release()
	}
	c.lease, c.ctx = nil, nil
}

// on calls f, which makes one call, with the lease. If there is none yet, on acquires one, and calls f again if that call did not run.
func (c *Conn) on(ctx context.Context, f func(*pool.Lease) error) (err error) {
	if c.lease == nil {
		c.lease, err = c.of.db.AcquireFor(ctx, f)
		return err
	}
	err = f(c.lease)
	if pgerr.DidNotRun(err) || errors.Is(err, pgconn.ErrConnClosed) && pgconn.SafeToRetry(err) {
		return driver.ErrBadConn // the session is gone, and what was in it
	}
	return err
}

// free reports whether a statement can run on the pool: it needs no session, and there is none.
func (c *Conn) free(ctx context.Context, sql string, args []any) bool {
	return c.lease == nil && !c.of.db.NeedsSession(ctx, sql, args...)
}

// ExecContext runs a statement.
func (c *Conn) ExecContext(ctx context.Context, sql string, named []driver.NamedValue) (driver.Result, error) {
	args := make([]any, len(named))
	values(args, named)
	var tag pgconn.CommandTag
	var err error
	if c.free(ctx, sql, args) {
		tag, err = c.of.db.Exec(ctx, sql, args...)
	} else {
		err = c.on(ctx, func(l *pool.Lease) (err error) {
			tag, err = l.Exec(ctx, sql, args...)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

// QueryContext runs a query. It reads the first row, since the columns are known only then.
func (c *Conn) QueryContext(ctx context.Context, sql string, named []driver.NamedValue) (driver.Rows, error) {
	args := make([]any, 1+len(named))
	args[0] = formats
	values(args[1:], named)
	if c.free(ctx, sql, args) {
		r, err := newRows(c.of.db.Query(ctx, sql, args...))
		if err == nil {
			return r, nil
		} else if !pgerr.DidNotRun(err) || ctx.Err() != nil {
			return nil, err
		} // the pool does not run a Query again, since its caller has the Rows already
	}
	var r *Rows
	err := c.on(ctx, func(l *pool.Lease) (err error) {
		r, err = newRows(l.Query(ctx, sql, args...))
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func values(args []any, named []driver.NamedValue) {
	for i := range named {
		args[i] = named[i].Value
	}
}

// CheckNamedValue lets every value pass, since pgx encodes it, with driver.Valuer and all.
func (c *Conn) CheckNamedValue(*driver.NamedValue) error { return nil }

// Ping checks that the server answers.
func (c *Conn) Ping(ctx context.Context) error {
	if c.lease == nil {
		return c.of.db.Ping(ctx)
	}
	return c.on(ctx, func(l *pool.Lease) error { return l.Ping(ctx) })
}

// Lease returns the lease on which the statements of the *sql.Conn run from now on. It acquires one if there is none. The lease is given back with the
// *sql.Conn: do not release it, and do not keep it.
func (c *Conn) Lease(ctx context.Context) (*pool.Lease, error) {
	if err := c.on(ctx, func(*pool.Lease) error { return nil }); err != nil {
		return nil, err
	}
	return c.lease, nil
}

// Conn returns the *pgx.Conn of [Conn.Lease]: see [pool.Lease.Conn]. It acquires a lease with the ctx with which the *sql.Conn was made, and returns
// nil if there is none in time. Lease returns the error.
func (c *Conn) Conn() *pgx.Conn {
	ctx := c.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	l, err := c.Lease(ctx)
	if err != nil {
		return nil
	}
	return l.Conn()
}
