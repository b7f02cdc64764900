package lane

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sched"
)

// segment is what one Sync ends: a transaction of its own. All of its steps are optional.
type segment struct {
	set    *prepared      // the rider's settings
	before *prepared      // the local guard
	drop   string         // a name is deallocated
	stmt   *prepared      //
	parse  bool           // it is Parsed and Described
	exec   bool           // and executed
	params [][]byte       // of the settings, or of a statement of the pool's own
	w      *sched.Request // whose it is; nil: the lane's own
	sign   *facts.Sign    // that it asks for; nil: none
}

// run sends a statement of the pool's own.
func (s *prepared) run(pl *pgconn.Pipeline, params [][]byte) {
	if s.name == "" {
		pl.SendQueryParams(s.sql, params, nil, nil, nil)
	} else {
		pl.SendQueryStatement(s.sd, params, nil, nil)
	}
}

func (s *segment) send(pl *pgconn.Pipeline) {
	if s.set != nil {
		s.set.run(pl, s.params)
	}
	if s.before != nil {
		s.before.run(pl, nil)
	}
	if s.drop != "" {
		pl.SendDeallocate(s.drop)
	}
	if s.parse {
		if s.stmt.name != "" { // no error if it is not there
			pl.SendDeallocate(s.stmt.name)
		}
		pl.SendPrepare(s.stmt.name, s.stmt.sql, nil)
	}
	if s.exec && s.w == nil {
		s.stmt.run(pl, s.params)
	} else if s.exec {
		b := &rideOf(s.w).eqb
		pl.SendQueryStatement(s.stmt.sd, b.ParamValues, b.ParamFormats, b.ResultFormats)
	}
	pl.SendPipelineSync()
}

// step is one of a segment's, in their order.
type step uint8

const (
	inSettings step = iota
	inGuard
	inDrop
	inClose // of what had the name
	inParse
	inExec
)

// answer is what came of a segment.
type answer struct {
	at     step                         // the last of which there is an answer
	own    *pgconn.StatementDescription // of its Parse
	failed *pgconn.PgError              // at that step, on the server
	lost   error                        // the connection is
}

// read reads a segment's answers up to its ReadyForQuery, and the rows into b, unless the connection is lost already.
func (s *segment) read(pl *pgconn.Pipeline, pc *pgconn.PgConn, b *memrows.Result, lost error) (a answer) {
	a.lost = lost
	for i, is := range [...]bool{s.set != nil, s.before != nil, s.drop != "", s.parse && s.stmt.name != "", s.parse, s.exec} {
		if is && a.lost == nil && a.failed == nil {
			a.at = step(i)
			a.next(pl, pc, b)
		}
	}
	for a.lost == nil { // up to the Sync, also after a failure
		if _, ok := a.next(pl, pc, b).(*pgconn.PipelineSync); ok {
			break
		}
		if a.lost != nil {
			a.lost = errors.Join(a.lost, errors.New("lmipool: no answer to Sync"))
		}
	}
	return a
}

// next reads one of them.
func (a *answer) next(pl *pgconn.Pipeline, pc *pgconn.PgConn, b *memrows.Result) any {
	v, err := pl.GetResults()
	switch r := v.(type) {
	case *pgconn.StatementDescription:
		a.own = r
	case *pgconn.ResultReader:
		if a.at == inExec {
			err = b.Read(r)
		} else {
			_, err = r.Close() // nobody reads its rows
		}
	}
	if err == nil && v == nil {
		err = errors.New("lmipool: the pipeline ended early")
	}
	if err != nil {
		var failed *pgconn.PgError
		if !pc.IsClosed() && errors.As(err, &failed) {
			a.failed = failed
		} else {
			a.lost = err
		}
	}
	return v
}
