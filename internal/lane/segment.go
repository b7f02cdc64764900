package lane

import (
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
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

// conclude decides what the answer to s means for its rider, and reports whether its time and size say anything about the statement. took is how long
// the server took. A ride has no effect on the database. So an answer is dropped, and the statement runs again, alone, unless it is proven that its
// result or its error is the one that the rider would get alone.
func (f *Flight) conclude(s *segment, a *answer, took time.Duration) bool {
	r := rideOf(s.w)
	r.types, r.server = f.ln.Types.Of(f.ln.PG), f.ln.server
	match := f.verify(s.stmt, a.own, r.st, r.desc, r.types)
	switch {
	case f.ln.Facts.TooOld(f.proven, f.heard): // s waited behind slow segments, and the facts may have changed meanwhile
		f.unprepared(s, a, took)
		r.ends(Again, errors.New("lmipool: the answer came too late: the catalogs may have changed since the statement was judged"))
	case match == memrows.Different:
		f.unprepared(s, a, took)
		r.ends(Again, errors.New("lmipool: the statement's description has changed"))
	case a.failed == nil && r.result.Size() > memrows.MaxResult:
		r.ends(Again, errors.New("lmipool: the result is too large for a lane"))
		return true
	case a.failed == nil:
		r.ends(Own, nil)
		return true
	case a.at < inExec:
		f.unprepared(s, a, took)
		r.ends(Again, a.failed)
	case f.stopped(r, a.failed.Code, took):
		r.ends(Again, a.failed)
	case a.own != nil && match == memrows.Equal, ofData(a.failed.Code):
		r.ends(Own, a.failed)
		return r.result.Size() > 0
	default:
		f.ln.forget(s.stmt) // the prepared statement may not fit the schema any more
		r.ends(Again, a.failed)
	}
	return false
}

// concludeOwn handles the answer to s, a segment that the lane has sent for itself and not for a rider.
func (f *Flight) concludeOwn(s *segment, a *answer) {
	switch {
	case a.lost != nil || s.stmt == nil: // if stmt is nil, s has only deallocated a name
	case a.failed != nil:
		f.ln.forget(s.stmt)
	case s.exec:
		f.ln.guarded = s.stmt.key == any(f.ln.guard.On)
	}
}

// verify returns whether arguments that were encoded for d, and rows that are decoded with set, are right for s, the prepared statement of st. own is
// the server's new description of s, or nil if it has sent none. If d is not right, later rides of st are encoded for the description of s.
func (f *Flight) verify(s *prepared, own *pgconn.StatementDescription, st *catalog.Statement, d *catalog.Description, set *memrows.Set) memrows.Sameness {
	if own != nil { // the last comparison was with an older description
		s.verified = verified{own: own}
	}
	switch {
	case s.own == nil: // the Parse of s has failed
		return memrows.Different
	case s.verified.desc == d && s.set == set:
		return s.match
	}
	s.verified = verified{own: s.own, desc: d, set: set}
	if d.IsLike(s.own) {
		s.match = d.Alike(set, &f.ln.of.types)
	} else {
		f.ln.forget(s)
	}
	if s.match == memrows.Different {
		now := catalog.Describe(s.own, set)
		if now.Unfit() != "" {
			now = nil
		}
		st.Redescribe(d, now)
	}
	return s.match
}

// unprepared drops the prepared statements that may be missing on the server, if s failed before its statement was executed.
func (f *Flight) unprepared(s *segment, a *answer, took time.Duration) {
	if a.failed == nil || a.at == inExec && s.stmt.own != nil {
		return
	}
	for _, of := range [...]*prepared{s.before, s.set} {
		if of != nil && a.at <= inGuard {
			f.ln.forget(of)
		}
	}
	if r := rideOf(s.w); a.at > inGuard && a.at < inExec && !f.stopped(r, a.failed.Code, took) { // the statement's table may be gone, so later rides would fail too
		r.st.Redescribe(r.desc, nil)
	}
	f.ln.forget(s.stmt)
}

// stopped reports whether code is an error with which the guard stops a statement. If so, it notes that the guard has stopped r's statement.
func (f *Flight) stopped(r *Ride, code string, took time.Duration) bool {
	switch code {
	case "25006": // read_only_sql_transaction
		r.st.Wrote()
	case "55P03", "57014": // lock_not_available, query_canceled
		r.st.Took(10 * max(took, session.LockTimeout)) // so the statement counts as slow for a while
	default:
		return false
	}
	f.ln.of.refusals.Add(1)
	return true
}

// ofData reports whether the rider certainly would get the same error alone, because it cannot come from a table, type or function that has changed since
// the statement was Parsed or planned. Errors about values that the server could not read do not count: the values may have been encoded for a type that
// has changed. If ofData returns false the statement runs again, which is cheap, so codes that are not certain are left out.
func ofData(code string) bool {
	switch code {
	case "22P02", "22P03", "22021", "22000", "22018": // text or binary representation, repertoire, data, cast
		return false
	}
	switch code[:min(2, len(code))] {
	case "21", "22", "23", "40", "53", "54", "58", "P0": // cardinality, data, constraints, rollback, resources, limits, system, RAISE
		return true
	}
	return false
}
