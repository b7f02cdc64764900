package stdlib

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/pool"
)

// Prepare is PrepareContext without a ctx.
func (c *Conn) Prepare(sql string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), sql)
}

// PrepareContext returns a statement that is only a text: pgx and the lanes prepare it on each connection that runs it. The server is asked about each
// text once, so that a wrong one is an error here. With a lease it is asked each time, since what is in the session decides what the text means.
func (c *Conn) PrepareContext(ctx context.Context, sql string) (driver.Stmt, error) {
	held := c.lease != nil
	if n, known := c.of.paramsOf(sql); known && !held {
		return &stmt{c, sql, n}, nil
	}
	var d *pgconn.StatementDescription
	err := c.on(ctx, func(l *pool.Lease) (err error) {
		d, err = l.Describe(ctx, sql)
		return err
	})
	if !held && c.lease != nil { // a description leaves nothing in the session
		c.lease.Release()
		c.lease = nil
	}
	if err != nil {
		return nil, err
	}
	if !held {
		c.of.remember(sql, len(d.ParamOIDs))
	}
	return &stmt{c, sql, len(d.ParamOIDs)}, nil
}

type stmt struct {
	c      *Conn
	sql    string
	params int
}

var (
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

func (s *stmt) Close() error  { return nil }
func (s *stmt) NumInput() int { return s.params }

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.ExecContext(ctx, s.sql, args)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.QueryContext(ctx, s.sql, args)
}

// Exec and Query are what database/sql called before it knew ctxs.
func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), numbered(args))
}

func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), numbered(args))
}

func numbered(args []driver.Value) []driver.NamedValue {
	named := make([]driver.NamedValue, len(args))
	for i, v := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return named
}
