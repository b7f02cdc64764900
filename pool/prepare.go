package pool

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// behindLook runs what send sends, guarded like a look, in one flight. All but the last of its steps return rows that
// nobody reads; read gets the last one's answer.
func (c *conn) behindLook(ctx context.Context, steps int, send func(*pgconn.Pipeline), read func(answer any) error) error {
	pl := c.pg.PgConn().StartPipeline(ctx)
	pl.SendQueryParams(newGuard(c.session).look, nil, nil, nil, nil)
	send(pl)
	err := pl.Sync()
	for step := 0; step <= steps && err == nil; step++ {
		var answer any
		switch answer, err = pl.GetResults(); {
		case err != nil:
		case step == steps:
			err = read(answer)
		default:
			if rr, ok := answer.(*pgconn.ResultReader); ok {
				_, err = rr.Close()
			}
		}
	}
	if closing := pl.Close(); err == nil { // reads the Sync
		err = closing
	}
	return err
}

// prepare is pgx's Prepare, guarded: it too waits for locks.
func (c *conn) prepare(ctx context.Context, name, sql string) (sd *pgconn.StatementDescription, err error) {
	err = c.behindLook(ctx, 1, func(pl *pgconn.Pipeline) { pl.SendPrepare(name, sql, nil) }, func(answer any) error {
		var ok bool
		if sd, ok = answer.(*pgconn.StatementDescription); !ok {
			return errNotPrepared
		}
		sd.Name, sd.SQL = name, sql
		return nil
	})
	return sd, err
}

var errNotPrepared = errors.New("lmipool: no answer to Parse")
