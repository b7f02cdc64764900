package lane

import (
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/session"
)

// conclude decides what s's answer, which took so long, means for its rider, and whether it says anything about its statement. A ride had
// no effect, so whatever cannot be proven to be the rider's own result, or his own error, is dropped, and he runs again, alone.
func (f *Flight) conclude(s *segment, a *answer, took time.Duration) bool {
	r := rideOf(s.w)
	r.types = f.ln.Types.Of(f.ln.PG)
	match := f.verify(s.stmt, a.own, r.st, r.desc, r.types)
	switch {
	case f.ln.Facts.TooOld(f.heard.Sub(f.proven)): // it stood behind slow ones: what says that it may ride may not be so any more
		f.unprepared(s, a, took)
		r.ends(Again, errors.New("lmipool: the answer came too late for what the statement was judged by"))
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
		f.ln.forgetStale(s.stmt)
		r.ends(Again, a.failed)
	}
	return false
}

// concludeOwn is conclude for what was sent for the lane itself.
func (f *Flight) concludeOwn(s *segment, a *answer) {
	var st *catalog.Statement
	if s.stmt != nil {
		st, _ = s.stmt.key.(*catalog.Statement)
	}
	switch {
	case a.lost != nil || s.stmt == nil: // a name was deallocated
	case a.failed != nil:
		f.ln.forget(s.stmt)
		if st != nil && a.failed.Code != "55P03" && a.failed.Code != "57014" {
			st.Redescribe(s.stmt.as, nil)
		}
	case st != nil: // it was Parsed for itself
		f.verify(s.stmt, a.own, st, s.stmt.as, f.ln.Types.Of(f.ln.PG))
	case s.exec:
		f.ln.guarded = s.stmt.key == any(f.ln.guard.On)
	}
}

// verified is what is known of a statement that a connection has Parsed.
type verified struct {
	own   *pgconn.StatementDescription // what the server said that it takes and returns; nil: nothing yet
	desc  *catalog.Description         // what own was last compared with,
	set   *memrows.Set                 // together with the Go types that the connection had then,
	match memrows.Sameness             // and what came of it
}

// verify says whether what was encoded for d, and is decoded with set, is right for s, which is st's and of which own, unless that is nil, was
// just heard. If not, it has those who come encode for what s is here.
func (f *Flight) verify(s *prepared, own *pgconn.StatementDescription, st *catalog.Statement, d *catalog.Description, set *memrows.Set) memrows.Sameness {
	if own != nil { // what was compared before was another description
		s.verified = verified{own: own}
	}
	switch {
	case s.own == nil: // its Parse has failed
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

// unprepared drops what may be missing on the server if s has failed before its statement was executed.
func (f *Flight) unprepared(s *segment, a *answer, took time.Duration) {
	if a.failed == nil || a.at == inExec && s.stmt.own != nil {
		return
	}
	for _, of := range [...]*prepared{s.before, s.set} {
		if of != nil && a.at <= inGuard {
			f.ln.forget(of)
		}
	}
	if r := rideOf(s.w); a.at > inGuard && a.at < inExec && !f.stopped(r, a.failed.Code, took) { // its table is gone, say: others need not try
		r.st.Redescribe(r.desc, nil)
	}
	f.ln.forget(s.stmt)
}

// stopped reports whether code is what the guard stops a statement with, and notes that r's was.
func (f *Flight) stopped(r *Ride, code string, took time.Duration) bool {
	switch code {
	case "25006": // read_only_sql_transaction
		r.st.Wrote()
	case "55P03", "57014": // lock_not_available, query_canceled
		r.st.Took(10 * max(took, session.LockTimeout)) // slow, for now
	default:
		return false
	}
	f.ln.of.refusals.Add(1)
	return true
}

// ofData reports whether an error is certainly not one of a statement that was Parsed, or planned, before something that it is made of has
// changed: then it is the caller's own. Those of data may be his own too, but for the values that the server could not read, which may have
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
