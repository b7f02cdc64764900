package lane

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sched"
)

// segment has the messages that are sent up to one Sync, which are one transaction. Each of its steps is optional.
type segment struct {
	set    *prepared      // sets the rider's settings
	before *prepared      // sets the local guard
	drop   string         // the name to deallocate
	stmt   *prepared      // the rider's statement, or one of the pool's own
	parse  bool           // stmt is Parsed and Described
	exec   bool           // stmt is executed
	params [][]byte       // the parameters of set, or of stmt if that is the pool's own
	w      *sched.Request // the rider; nil if the lane sends the segment for itself
	sign   *facts.Sign    // the sign that stmt asks for; nil if it asks for none
}

// run sends s, a statement of the pool's own.
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
		if s.stmt.name != "" { // no error if the server has no such name
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

// step is one step of a segment. The values are in the order in which the steps are sent.
type step uint8

const (
	inSettings step = iota
	inGuard
	inDrop
	inClose // closes the statement that had the name
	inParse
	inExec
)

// answer is the server's answer to a segment.
type answer struct {
	at     step                         // the last step that has an answer
	own    *pgconn.StatementDescription // the answer to the Parse and Describe
	failed *pgconn.PgError              // the server's error in the step at; nil if there was none
	lost   error                        // why the connection is lost; nil if it is not
}

// read reads the answers to all steps of s, up to ReadyForQuery, and its rows into b. It reads nothing if lost is not nil.
func (s *segment) read(pl *pgconn.Pipeline, pc *pgconn.PgConn, b *memrows.Result, lost error) (a answer) {
	a.lost = lost
	for i, is := range [...]bool{s.set != nil, s.before != nil, s.drop != "", s.parse && s.stmt.name != "", s.parse, s.exec} {
		if is && a.lost == nil && a.failed == nil {
			a.at = step(i)
			a.next(pl, pc, b)
		}
	}
	for a.lost == nil { // the Sync has an answer even after a failure
		if _, ok := a.next(pl, pc, b).(*pgconn.PipelineSync); ok {
			break
		}
		if a.lost != nil {
			a.lost = errors.Join(a.lost, errors.New("lmipool: no answer to Sync"))
		}
	}
	return a
}

// next reads the answer to one step, or to the Sync.
func (a *answer) next(pl *pgconn.Pipeline, pc *pgconn.PgConn, b *memrows.Result) any {
	v, err := pl.GetResults()
	switch r := v.(type) {
	case *pgconn.StatementDescription:
		a.own = r
	case *pgconn.ResultReader:
		if a.at == inExec {
			err = b.Read(r)
		} else {
			_, err = r.Close() // the rows of a setting or a guard are not needed
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
