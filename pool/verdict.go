package pool

import (
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/session"
)

// outcome says what a ride came to.
type outcome uint8

const (
	outcomeNone  outcome = iota // it was never sent
	outcomeOwn                  // it has its own result, or its own error
	outcomeAgain                // it did nothing, or its result was dropped: it runs again, alone
	outcomeLost                 // its connection was lost, for the reason in result.err
)

// verified is what is known of a statement that a connection has Parsed.
type verified struct {
	own   *pgconn.StatementDescription // what the server said that it takes and returns; nil: nothing yet
	desc  *catalog.Description         // what own was last compared with,
	set   *memrows.Set                 // together with the Go types that the connection had then,
	match memrows.Sameness             // and what came of it
}

// verify says whether what was encoded for d, and is decoded with set, is right for v.
func (v *verified) verify(d *catalog.Description, set *memrows.Set, pairs *memrows.Pairs) memrows.Sameness {
	switch {
	case v.own == nil: // its Parse has failed
		return memrows.Different
	case v.desc == d && v.set == set:
		return v.match
	}
	v.desc, v.set, v.match = d, set, memrows.Different
	if d.IsLike(v.own) {
		v.match = d.Alike(set, pairs)
	}
	return v.match
}

// judge decides what s's answer means for its rider, and whether it says anything
// about its statement. A ride had no effect, so whatever cannot be proven to be the rider's
// own result, or his own error, is dropped, and he runs again, alone.
func (f *flight) judge(s *segment, at stage, own *pgconn.StatementDescription, failed *pgconn.PgError, took time.Duration) bool {
	ln, n, r := f.c.lane, f.c.p.lanes, rideOf(s.w)
	if own != nil {
		s.stmt.verified = verified{own: own} // what was compared before was another description
	}
	r.outcome, r.types = outcomeAgain, f.c.types.Of(f.c.pg)
	if f.c.base.TooOld(f.last.Sub(f.proven)) { // it stood behind slow ones: what says that it may ride may not be so any more
		f.unprepared(s, at, failed, took)
		r.result.Fail(errOld)
		return false
	}
	match := s.stmt.verify(r.desc, r.types, &n.types)
	if match == memrows.Different {
		f.redescribe(s.stmt, r.st, r.desc)
		f.unprepared(s, at, failed, took)
		r.result.Fail(errStale)
		return false
	}
	switch {
	case failed == nil && r.result.Size() > memrows.MaxResult:
		r.result.Fail(errTooLarge)
		return true
	case failed == nil:
		r.outcome = outcomeOwn
		r.result.End(r.desc.Shown, nil)
		return true
	}
	size := r.result.Size()
	switch {
	case at < inExec:
		f.unprepared(s, at, failed, took)
	case f.stopped(r, failed.Code, took):
	case own != nil && match == memrows.Equal, ofData(failed.Code):
		r.outcome = outcomeOwn
		r.result.End(r.desc.Shown, failed)
		return size > 0
	default:
		if ln.forget(s.stmt); s.stmt.name != "" && !slices.ContainsFunc(f.stale, func(o *prepared) bool { return o.key == s.stmt.key }) {
			f.stale = append(f.stale, s.stmt)
		}
	}
	r.result.Fail(failed)
	return false
}

// redescribe has those who come encode for what s is here, if that is not what it was described
// as by old.
func (f *flight) redescribe(s *prepared, st *catalog.Statement, old *catalog.Description) {
	if s.own == nil {
		return
	}
	if !old.IsLike(s.own) {
		f.c.lane.forget(s)
	}
	d := catalog.Describe(s.own, f.c.types.Of(f.c.pg))
	if d.Unfit() != "" {
		d = nil
	}
	st.Redescribe(old, d)
}

// described is for a statement that was Parsed for itself.
func (f *flight) described(s *prepared, own *pgconn.StatementDescription) {
	st, ok := s.key.(*catalog.Statement)
	s.verified = verified{own: own}
	if ok && s.verify(s.as, f.c.types.Of(f.c.pg), &f.c.p.lanes.types) == memrows.Different {
		f.redescribe(s, st, s.as)
	}
}

// undescribed is for one that could not be.
func (f *flight) undescribed(s *prepared, failed *pgconn.PgError) {
	f.c.lane.forget(s)
	if st, ok := s.key.(*catalog.Statement); ok && failed.Code != "55P03" && failed.Code != "57014" {
		st.Redescribe(s.as, nil)
	}
}

// unprepared drops what may be missing on the server after s has failed before its statement
// was executed.
func (f *flight) unprepared(s *segment, at stage, failed *pgconn.PgError, took time.Duration) {
	if failed == nil || at == inExec && s.stmt.own != nil {
		return
	}
	ln, r := f.c.lane, rideOf(s.w)
	if at == inGuard && s.before != nil {
		ln.forget(s.before)
	}
	if at == inGuard && s.set != nil {
		ln.forget(s.set)
	}
	if at == inParse && !f.stopped(r, failed.Code, took) { // its table is gone, say: others need not try
		r.st.Redescribe(r.desc, nil)
	}
	ln.forget(s.stmt)
}

// stopped reports whether code is what the guard stops a statement with, and notes that r's
// was.
func (f *flight) stopped(r *ride, code string, took time.Duration) bool {
	n := f.c.p.lanes
	switch code {
	case "25006": // read_only_sql_transaction
		r.st.Wrote()
	case "55P03", "57014": // lock_not_available, query_canceled
		r.st.Took(10 * max(took, session.LockTimeout)) // slow, for now
	default:
		return false
	}
	n.refusals.Add(1)
	return true
}

// ofData reports whether an error is certainly not one of a statement that was Parsed, or
// planned, before something that it is made of has changed: then it is the caller's own. Those of
// data may be his own too, but for the values that the server could not read, which may have
// been encoded for a type that is gone. Parse is cheap, so what is not certain is not in here.
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

var (
	errStale    = errors.New("lmipool: the statement's description has changed")
	errOld      = errors.New("lmipool: the answer came too late for what the statement was judged by")
	errTooLarge = errors.New("lmipool: the result is too large for a lane")
)
