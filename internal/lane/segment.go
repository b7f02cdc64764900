package lane

import (
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sched"
)

// segment is what is sent up to one Sync, and so one transaction. Each of its steps is optional.
type segment struct {
	set    *prepared      // sets the rider's settings
	before *prepared      // sets the local guard
	drop   string         // the name to deallocate
	stmt   *prepared      // the statement; parse and exec say what is done with it
	parse  bool           // stmt is Parsed and Described
	exec   bool           // stmt is executed
	params [][]byte       // the parameters of set, or of stmt if that is the pool's own
	w      *sched.Request // the rider; nil: the segment is the lane's own
	sign   *facts.Sign    // the sign that stmt asks for; nil: it asks for none
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
