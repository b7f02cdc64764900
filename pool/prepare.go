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

// answers asks a question of the pool's own, behind first unless that is "", guarded like a look, and returns its rows in text
// format. To plan such a question costs more than to answer it, so it stays prepared, beside the statements of lanes.
func (c *conn) answers(ctx context.Context, first, sql string, args [][]byte) (rows [][][]byte, err error) {
	steps := 1
	if first != "" {
		steps++
	}
	read := func(answer any) error {
		rr, ok := answer.(*pgconn.ResultReader)
		if !ok {
			return errNoAnswer
		}
		r := rr.Read()
		rows = r.Rows
		return r.Err
	}
	before := func(pl *pgconn.Pipeline) {
		if first != "" {
			pl.SendQueryParams(first, nil, nil, nil, nil)
		}
	}
	if c.lane == nil || c.lane.unnamed {
		err = c.behindLook(ctx, steps, func(pl *pgconn.Pipeline) {
			before(pl)
			pl.SendQueryParams(sql, args, nil, nil, nil) // its casts say of what types they are
		}, read)
		return rows, err
	}
	s := c.lane.find(sql, nil)
	if !s.sent {
		steps += 2
	}
	err = c.behindLook(ctx, steps, func(pl *pgconn.Pipeline) {
		before(pl)
		if !s.sent {
			pl.SendDeallocate(s.name) // no error if it is not there
			pl.SendPrepare(s.name, sql, nil)
		}
		pl.SendQueryStatement(s.sd, args, nil, nil)
	}, read)
	if s.sent = err == nil; !s.sent {
		c.lane.forget(s)
	}
	return rows, err
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
