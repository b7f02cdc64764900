package facts

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// Ask asks one of the questions of this package, and returns the rows in text format. Nobody else may use the connection meanwhile, and its session
// must be clean. [Asker.Answers] is one.
type Ask func(ctx context.Context, sql string, args ...[]byte) (rows [][][]byte, err error)

// byIndex keeps the planner from reading whole catalogs. It is transaction-local.
const byIndex = `select pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_hashjoin', 'off', true),` +
	` pg_catalog.set_config('enable_mergejoin', 'off', true)`

// Asker asks questions on a connection, each in one exchange with the guard in front.
type Asker struct {
	PG    *pgconn.PgConn
	Guard string // a query that makes the transaction read-only and short
	Kept  Kept   // nil: questions are not prepared, as behind a pooler
}

// Kept is what a connection keeps prepared for the pool itself. Planning a question costs more than answering it. Question returns the statement of
// a question, and whether it is prepared already; else it has to be, under its name. Asked notes whether it is prepared now.
type Kept interface {
	Question(sql string) (sd *pgconn.StatementDescription, there bool)
	Asked(sql string, there bool)
}

var errNoAnswer = errors.New("lmipool: no answer to what the catalogs say")

// Answers is an [Ask].
func (a *Asker) Answers(ctx context.Context, sql string, args ...[]byte) (rows [][][]byte, err error) {
	var sd *pgconn.StatementDescription
	there := false
	if a.Kept != nil {
		sd, there = a.Kept.Question(sql)
	}
	rows, _, err = a.exchange(ctx, func(pl *pgconn.Pipeline) {
		if len(args) > 0 { // it is about some names
			pl.SendQueryParams(byIndex, nil, nil, nil, nil)
		}
		if sd == nil {
			pl.SendQueryParams(sql, args, nil, nil, nil) // its casts say of which types args are
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

// Describe asks the server for sql's parameters and columns. Parsing waits for locks, as running does.
func (a *Asker) Describe(ctx context.Context, sql string) (*pgconn.StatementDescription, error) {
	_, sd, err := a.exchange(ctx, func(pl *pgconn.Pipeline) { pl.SendPrepare("", sql, nil) })
	if sd == nil {
		return nil, cmp.Or(err, errNoAnswer)
	}
	sd.SQL = sql
	return sd, err
}

// exchange sends the guard and then what send sends. It returns the last rows and the last description of the answer.
func (a *Asker) exchange(ctx context.Context, send func(*pgconn.Pipeline)) (rows [][][]byte, sd *pgconn.StatementDescription, err error) {
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
