package pool

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sched"
)

// segment is what one Sync ends: a transaction of its own. All but the last of its
// steps are optional.
type segment struct {
	set     *prepared                  // the rider's settings
	before  *prepared                  // the local guard
	parse   bool                       // stmt is Parsed and Described
	exec    bool                       // and executed
	drop    string                     // a name is deallocated
	stmt    *prepared                  //
	bind    *pgx.ExtendedQueryBuilder  // nil: no arguments
	w       *sched.Request             // whose it is; nil: the lane's own
	becomes bool                       // of the lane's own: what the session guard is then
	params  [][]byte                   // of the lane's own
	heard   func(rows *memrows.Result) // of the lane's own: takes the result; nil: nobody does
}

// run sends a statement of the pool's own, whose result nobody reads.
func (s *prepared) run(pl *pgconn.Pipeline, params [][]byte) {
	if s.name == "" {
		pl.SendQueryParams(s.key.(string), params, nil, nil, nil)
		return
	}
	pl.SendQueryStatement(s.sd, params, nil, nil)
}

func (s *segment) send(pl *pgconn.Pipeline) {
	if s.set != nil {
		s.set.run(pl, rideOf(s.w).with.Params())
	}
	if s.before != nil {
		s.before.run(pl, nil)
	}
	if s.drop != "" {
		pl.SendDeallocate(s.drop)
	}
	if s.parse {
		sql, ok := s.stmt.key.(string)
		if !ok {
			sql = s.stmt.key.(*catalog.Statement).SQL
		}
		if s.stmt.name != "" { // no error if it is not there
			pl.SendDeallocate(s.stmt.name)
		}
		pl.SendPrepare(s.stmt.name, sql, nil)
	}
	switch {
	case s.heard != nil:
		s.stmt.run(pl, s.params)
	case s.exec && s.bind != nil:
		pl.SendQueryStatement(s.stmt.sd, s.bind.ParamValues, s.bind.ParamFormats, s.bind.ResultFormats)
	case s.exec:
		pl.SendQueryStatement(s.stmt.sd, nil, nil, nil)
	}
	pl.SendPipelineSync()
}

// stage is how far a segment came.
type stage uint8

const (
	inGuard stage = iota // or in its settings
	inParse
	inExec
)

// read reads a segment's answers up to its ReadyForQuery, and the rows into b. One
// of the steps may have failed on the server; lost means the connection.
func (s *segment) read(pl *pgconn.Pipeline, pc *pgconn.PgConn, b *memrows.Result) (at stage, own *pgconn.StatementDescription, failed *pgconn.PgError, lost error) {
	step := func(into *memrows.Result) (any, bool) {
		v, err := pl.GetResults()
		if rr, ok := v.(*pgconn.ResultReader); ok {
			err = into.Read(rr)
		}
		switch {
		case err != nil && (pc.IsClosed() || !errors.As(err, &failed)):
			lost = err
		case v == nil && err == nil:
			lost = errors.New("lmipool: the pipeline ended early")
		}
		return v, lost == nil && failed == nil
	}
	ok := true
	if s.set != nil {
		_, ok = step(&memrows.Result{})
	}
	if ok && s.before != nil {
		_, ok = step(&memrows.Result{})
	}
	if ok && s.drop != "" {
		_, ok = step(nil)
	}
	if ok && s.parse {
		at = inParse
		if s.stmt.name != "" {
			_, ok = step(nil)
		}
	}
	if ok && s.parse {
		var v any
		if v, ok = step(nil); ok {
			own, _ = v.(*pgconn.StatementDescription)
		}
	}
	if ok && s.exec {
		at = inExec
		_, _ = step(b)
	}
	for lost == nil { // up to the Sync, also after a failure
		v, err := pl.GetResults()
		if _, ok := v.(*pgconn.PipelineSync); ok {
			break
		}
		if err != nil && (pc.IsClosed() || !errors.As(err, &failed)) || err == nil && v == nil {
			lost = errors.Join(err, errors.New("lmipool: no answer to Sync"))
		}
	}
	return at, own, failed, lost
}
