package pool

import (
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// outcome says what a ride came to.
type outcome uint8

const (
	outcomeNone  outcome = iota // it was never sent
	outcomeOwn                  // it has its own result, or its own error
	outcomeAgain                // it did nothing, or its result was dropped: it runs again, alone
	outcomeLost                 // its connection was lost, for the reason in result.err
)

// judge decides what s's answer means for its rider, and whether it says anything
// about its statement.
func (f *flight) judge(s *segment, at stage, own *pgconn.StatementDescription, failed *pgconn.PgError, took time.Duration) bool {
	ln, g, r := f.c.lane, f.c.p.lanes.catalog, s.w.ride
	r.outcome = outcomeAgain
	if own != nil {
		if !sameShape(own, r.desc) || !sameTypes(f.c.pg.TypeMap(), r.desc) {
			ln.forget(s.stmt)
			g.forget(r.st, r.desc)
			r.result = buffered{err: errStale}
			return false
		}
		s.stmt.desc = r.desc
	}
	switch {
	case failed == nil && s.stmt.desc != r.desc: // its Parse is in a segment that failed
		r.result = buffered{err: errStale}
		return false
	case failed == nil && r.result.size > maxResult:
		r.result = buffered{err: errTooLarge, size: r.result.size}
		return true
	case failed == nil:
		r.outcome = outcomeOwn
		r.result.fields = r.desc.shown
		return true
	}
	size := r.result.size
	if at < inExec {
		if at == inGuard && s.before != nil {
			ln.forget(s.before)
		}
		if at == inGuard && s.set != nil {
			ln.forget(s.set)
		}
		if at == inParse { // its table is gone, say: others need not try
			g.forget(r.st, r.desc)
		}
		ln.forget(s.stmt)
		r.result = buffered{err: failed}
		return false
	}
	switch failed.Code {
	case "25006": // read_only_sql_transaction
		g.refuse(r.st, aloneGuarded)
		f.c.p.lanes.refusals.Add(1)
	case "55P03", "57014": // lock_not_available, query_canceled
		g.observe(r.st, 10*max(took, laneLockTimeout), -1) // slow, for now
		f.c.p.lanes.refusals.Add(1)
	case "0A000", "26000", "42P05": // a cached plan, or the statement itself, is gone
		ln.forget(s.stmt)
		g.forget(r.st, r.desc)
	default:
		r.outcome = outcomeOwn
		r.result.err = failed
		r.result.fields = r.desc.shown
		return size > 0
	}
	r.result = buffered{err: failed}
	return false
}

var (
	errStale    = errors.New("lmipool: the statement's description has changed")
	errTooLarge = errors.New("lmipool: the result is too large for a lane")
)

// sameShape reports whether a connection's own description is what arguments were
// encoded for and rows will be decoded with.
func sameShape(own *pgconn.StatementDescription, d *description) bool {
	return slices.Equal(own.ParamOIDs, d.ParamOIDs) && slices.Equal(own.Fields, d.Fields)
}
