package pool

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/memrows"
)

// queryRow runs sql and reads its row at once. own is as for exec.
func (l *Lease) queryRow(ctx context.Context, sql string, args []any, own bool) *memrows.Row {
	c, err := l.enter(sql)
	if err != nil {
		return memrows.Failed(err)
	}
	defer l.leave()
	meant, err := l.meant(ctx, sql, args, false)
	if err != nil {
		return memrows.Failed(l.c.wrapError(err))
	}
	l.note(ctx, sql, meant)
	r, err := c.Query(ctx, sql, meant...)
	w := readRow(r, err, l.c)
	if own && l.c.stale(w.Err()) {
		r, err = c.Query(ctx, sql, meant...)
		w = readRow(r, err, l.c)
	}
	l.answered(w.Err())
	return w
}

// readRow reads the first row of what a Query on c returned, if any, into memory, and closes r.
func readRow(r pgx.Rows, err error, c *conn) *memrows.Row {
	if err != nil {
		return memrows.Failed(c.wrapError(err))
	}
	w := memrows.ReadRow(r, c.pg, &c.types)
	w.SetErr(c.wrapError(w.Err()))
	c.p.writer.Wrote(w.Tag())
	return w
}
