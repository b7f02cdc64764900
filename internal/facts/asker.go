package facts

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// Ask asks one of the questions of this package, behind first unless that is "", and returns its rows in text format. It does so on a
// connection that nobody else uses just now, whose session is clean. [Asker] has one.
type Ask func(ctx context.Context, first, sql string, args [][]byte) (rows [][][]byte, err error)

// of asks one of the questions that facts are derived from.
func (ask Ask) of(ctx context.Context, sql string, args ...[]byte) (rows [][][]byte, err error) {
	if len(args) > 0 { // about a few names: by index only, which the planner, who expects thousands of rows, does not see
		return ask(ctx, byIndex, sql, args)
	}
	return ask(ctx, "", sql, args)
}

// byIndex keeps the planner from reading whole catalogs. It is transaction-local.
const byIndex = `select pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_hashjoin', 'off', true),` +
	` pg_catalog.set_config('enable_mergejoin', 'off', true)`

// Asker asks questions on a connection, each in one flight behind what guards it.
type Asker struct {
	PG    *pgconn.PgConn
	Guard string // a query in front of each: nothing is written, or takes long
	Kept  Kept   // nil: questions are sent by their text, as behind a pooler
}

// Kept is what a connection keeps prepared for the pool itself. To plan a question costs more than to answer it.
type Kept interface {
	// Question returns the statement of a question, which is there already, or is to be prepared under its name.
	Question(sql string) (sd *pgconn.StatementDescription, there bool)
	// Asked says whether it is there now.
	Asked(sql string, there bool)
}

// Answers is an [Ask].
func (a *Asker) Answers(ctx context.Context, first, sql string, args [][]byte) (rows [][][]byte, err error) {
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
	if a.Kept == nil {
		err = a.guarded(ctx, steps, func(pl *pgconn.Pipeline) {
			before(pl)
			pl.SendQueryParams(sql, args, nil, nil, nil) // its casts say of what types they are
		}, read)
		return rows, err
	}
	sd, there := a.Kept.Question(sql)
	if !there {
		steps += 2
	}
	err = a.guarded(ctx, steps, func(pl *pgconn.Pipeline) {
		before(pl)
		if !there {
			pl.SendDeallocate(sd.Name) // no error if it is not there
			pl.SendPrepare(sd.Name, sql, nil)
		}
		pl.SendQueryStatement(sd, args, nil, nil)
	}, read)
	a.Kept.Asked(sql, err == nil)
	return rows, err
}

// Describe has the server say what sql takes and returns.
func (a *Asker) Describe(ctx context.Context, sql string) (sd *pgconn.StatementDescription, err error) {
	err = a.guarded(ctx, 1, func(pl *pgconn.Pipeline) { pl.SendPrepare("", sql, nil) }, func(answer any) error { // that too waits for locks
		var ok bool
		if sd, ok = answer.(*pgconn.StatementDescription); !ok {
			return errNotPrepared
		}
		sd.SQL = sql
		return nil
	})
	return sd, err
}

// guarded runs what send sends behind the guard, in one flight. All but the last of its steps return rows that
// nobody reads; read gets the last one's answer.
func (a *Asker) guarded(ctx context.Context, steps int, send func(*pgconn.Pipeline), read func(answer any) error) error {
	pl := a.PG.StartPipeline(ctx)
	pl.SendQueryParams(a.Guard, nil, nil, nil, nil)
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

var (
	errNoAnswer    = errors.New("lmipool: no answer to what the catalogs say")
	errNotPrepared = errors.New("lmipool: no answer to Parse")
)
