package facts

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// Ask sends one of this package's questions to the server, and returns the rows in text format. Nobody else may use the connection meanwhile, and its
// session must be clean. [Asker.Answers] is an Ask.
type Ask func(ctx context.Context, sql string, args ...[]byte) (rows [][][]byte, err error)

// byIndex makes the planner use indexes for the rest of the transaction, instead of reading whole catalogs.
const byIndex = `select pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_hashjoin', 'off', true),` +
	` pg_catalog.set_config('enable_mergejoin', 'off', true)`

// Asker asks questions on a connection, each in one exchange with the guard in front.
type Asker struct {
	PG    *pgconn.PgConn
	Guard string // a query that makes the transaction read-only and sets short timeouts
	Kept  Kept   // nil if questions are not prepared, as behind a pooler

	Yields  func() bool // reports that a caller waits for the connection, so that no further question is asked; nil if all are asked
	yielded bool
}

// MustYield reports whether a caller waits, or has waited before another question, so that no question is asked any more.
func (a *Asker) MustYield() bool {
	a.yielded = a.yielded || a.Yields != nil && a.Yields()
	return a.yielded
}

// HasYielded reports whether a question was not asked because a caller waited.
func (a *Asker) HasYielded() bool { return a.yielded }

// Kept holds the questions that a connection keeps prepared, because planning a question costs more than answering it. Question returns the statement
// for a question. If there is false, the caller has to prepare the statement under its name. Asked notes whether the question is prepared now.
type Kept interface {
	Question(sql string) (sd *pgconn.StatementDescription, there bool)
	Asked(sql string, there bool)
}

// errYielded is returned instead of an answer where a question was not asked because of Asker.Yields.
var errYielded = errors.New("lmipool: a caller waits for the connection")

var errNoAnswer = errors.New("lmipool: no answer to what the catalogs say")

// Answers is an [Ask].
func (a *Asker) Answers(ctx context.Context, sql string, args ...[]byte) (rows [][][]byte, err error) {
	if a.MustYield() {
		return nil, errYielded
	}
	var sd *pgconn.StatementDescription
	there := false
	if a.Kept != nil {
		sd, there = a.Kept.Question(sql)
	}
	rows, _, err = a.exchange(ctx, func(pl *pgconn.Pipeline) {
		if len(args) > 0 { // the question is about some names, not about the whole database
			pl.SendQueryParams(byIndex, nil, nil, nil, nil)
		}
		if sd == nil {
			pl.SendQueryParams(sql, args, nil, nil, nil) // the casts in sql give the types of args
			return
		}
		if !there {
			pl.SendDeallocate(sd.Name) // if the name does not exist, the server returns no error
			pl.SendPrepare(sd.Name, sql, nil)
		}
		pl.SendQueryStatement(sd, args, nil, nil)
	})
	if sd != nil {
		a.Kept.Asked(sql, err == nil)
	}
	return rows, err
}

// Describe asks the server for sql's parameters and columns. Parsing waits for locks, just as running sql does.
func (a *Asker) Describe(ctx context.Context, sql string) (*pgconn.StatementDescription, error) {
	_, sd, err := a.exchange(ctx, func(pl *pgconn.Pipeline) { pl.SendPrepare("", sql, nil) })
	if sd == nil {
		return nil, cmp.Or(err, errNoAnswer)
	}
	sd.SQL = sql
	return sd, err
}

// exchange sends the guard and then what send sends. It returns the last rows and the last description in the answer.
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
