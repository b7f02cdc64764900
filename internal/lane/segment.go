package lane

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sched"
)

// segment is what one Sync ends: a transaction of its own. All but the last of its
// steps are optional.
type segment struct {
	set    *prepared      // the rider's settings
	before *prepared      // the local guard
	drop   string         // a name is deallocated
	stmt   *prepared      // nil: nothing else
	parse  bool           // stmt is Parsed and Described
	exec   bool           // and executed
	w      *sched.Request // whose it is; nil: the lane's own
	sign   *facts.Sign    // that it asks for; nil: none
}

// run sends a statement of the pool's own.
func (s *prepared) run(pl *pgconn.Pipeline, params [][]byte) {
	if s.name == "" {
		pl.SendQueryParams(s.key.(string), params, nil, nil, nil)
		return
	}
	pl.SendQueryStatement(s.sd, params, nil, nil)
}

func (s *segment) send(pl *pgconn.Pipeline) {
	if s.set != nil {
		s.set.run(pl, rideOf(s.w).With.Params())
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
	case !s.exec:
	case s.sign != nil:
		s.stmt.run(pl, s.sign.Args)
	case s.w == nil:
		s.stmt.run(pl, nil)
	default:
		b := &rideOf(s.w).eqb
		pl.SendQueryStatement(s.stmt.sd, b.ParamValues, b.ParamFormats, b.ResultFormats)
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

// answer is what came of a segment.
type answer struct {
	at     stage                        // that its last step was in
	own    *pgconn.StatementDescription // of its Parse
	failed *pgconn.PgError              // on the server, at one of the steps
	lost   error                        // the connection is
}

// read reads a segment's answers up to its ReadyForQuery, and the rows into b, unless the connection is lost already.
func (s *segment) read(pl *pgconn.Pipeline, pc *pgconn.PgConn, b *memrows.Result, lost error) (a answer) {
	a.lost = lost
	for _, step := range [...]struct {
		is bool
		at stage
	}{
		{s.set != nil, inGuard},
		{s.before != nil, inGuard},
		{s.drop != "", inGuard},
		{s.parse && s.stmt.name != "", inParse},
		{s.parse, inParse},
		{s.exec, inExec},
	} {
		if step.is && a.lost == nil && a.failed == nil {
			a.at = step.at
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
