package pool

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// prepare is pgx's Prepare, guarded: it too waits for locks.
func (c *conn) prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	pl := c.pg.PgConn().StartPipeline(ctx)
	pl.SendQueryParams(newGuard(c.session).look, nil, nil, nil, nil)
	pl.SendPrepare(name, sql, nil)
	err := pl.Sync()
	var sd *pgconn.StatementDescription
	if err == nil {
		_, err = column(pl.GetResults())
	}
	if err == nil {
		var v any
		v, err = pl.GetResults()
		sd, _ = v.(*pgconn.StatementDescription)
	}
	if closing := pl.Close(); err == nil { // reads the Sync
		err = closing
	}
	if sd == nil || err != nil {
		return nil, cmp.Or(err, errNotPrepared)
	}
	sd.Name, sd.SQL = name, sql
	return sd, nil
}

var errNotPrepared = errors.New("lmipool: no answer to Parse")

// column is the first column of a result, in text format.
func column(v any, err error) (values []string, _ error) {
	rr, ok := v.(*pgconn.ResultReader)
	if !ok {
		return nil, err
	}
	for rr.NextRow() {
		values = append(values, string(rr.Values()[0]))
	}
	_, err = rr.Close()
	return values, err
}
