package facts

import (
	"cmp"
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

var errNoAnswer = errors.New("lmipool: no answer to what the catalogs say")

// Answers is an [Ask].
func (a *Asker) Answers(ctx context.Context, first, sql string, args [][]byte) (rows [][][]byte, err error) {
	var sd *pgconn.StatementDescription
	there := false
	if a.Kept != nil {
		sd, there = a.Kept.Question(sql)
	}
	rows, _, err = a.flight(ctx, func(pl *pgconn.Pipeline) {
		if first != "" {
			pl.SendQueryParams(first, nil, nil, nil, nil)
		}
		if sd == nil {
			pl.SendQueryParams(sql, args, nil, nil, nil) // its casts say of what types they are
			return
		}
		if !there {
			pl.SendDeallocate(sd.Name) // no error if it is not there
			pl.SendPrepare(sd.Name, sql, nil)
		}
		pl.SendQueryStatement(sd, args, nil, nil)
	})
	if sd != nil {
		a.Kept.Asked(sql, err == nil)
	}
	return rows, err
}

// Describe has the server say what sql takes and returns. That too waits for locks.
func (a *Asker) Describe(ctx context.Context, sql string) (*pgconn.StatementDescription, error) {
	_, sd, err := a.flight(ctx, func(pl *pgconn.Pipeline) { pl.SendPrepare("", sql, nil) })
	if sd == nil {
		return nil, cmp.Or(err, errNoAnswer)
	}
	sd.SQL = sql
	return sd, err
}

// flight sends what send sends, behind the guard, and returns the last rows and the last description that come.
func (a *Asker) flight(ctx context.Context, send func(*pgconn.Pipeline)) (rows [][][]byte, sd *pgconn.StatementDescription, err error) {
	pl := a.PG.StartPipeline(ctx)
	pl.SendQueryParams(a.Guard, nil, nil, nil, nil)
	send(pl)
	err = pl.Sync()
	for over := false; err == nil && !over; {
		var answer any
		answer, err = pl.GetResults()
		switch v := answer.(type) {
		case *pgconn.ResultReader:
			r := v.Read()
			rows, err = r.Rows, r.Err
		case *pgconn.StatementDescription:
			sd = v
		case nil, *pgconn.PipelineSync:
			over = true
		}
	}
	if closing := pl.Close(); err == nil {
		err = closing
	}
	return rows, sd, err
}
