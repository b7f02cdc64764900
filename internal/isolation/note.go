package isolation

import (
	"context"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// note notes what a statement is going to leave behind and what it does to the meaning of later texts. The meaning also matters where nothing is
// reset. st is what is known of the statement, or nil if nobody has looked.
func (u *Use) note(ctx context.Context, st *catalog.Statement, sql string, args []any) {
	s := u.s
	s.noteArguments(pgerr.Arguments{Args: args})
	if st == nil {
		var ok bool
		sql, ok = pgxargs.Text(ctx, sql, args)
		if !ok || !u.with.Custom() || len(sql) > catalog.MaxText {
			s.runs(!ok || sqltext.CommitsOnItsWay(sql))
			u.noteUnknown(ctx, sqltext.MayChangeMeaning)
			return
		}
		st = s.Catalog.Find(sql, u.with.Key())
	}
	s.runs(st.Commits)
	if text, known := s.TextOf(sql); !known {
		u.noteUnknown(ctx, sqltext.KeepsMeaning)
		return
	} else if text != sql {
		st = s.Catalog.Find(text, u.with.Key())
	}
	leaves := st.Leaves(s.Facts)
	trace := leaves.Trace
	if s.Reach.Isolates() {
		if st.Asks && u.meaning != meansSame { // the statement's names may stand for other things than those that were judged
			leaves.Trace, leaves.Plans = max(trace, sqltext.AnyTrace), true
		}
		if u.left.add(leaves.Trace); leaves.Trace >= sqltext.AnyTrace && leaves.Plans {
			u.left.addPlans(leaves.Trace)
		}
		if !st.Asks {
			u.left.addCertain(st.Trace)
		}
		u.noteSequences(ctx, leaves, st)
	}
	u.change(st.Meaning, trace >= sqltext.SessionTrace && (trace > st.Trace || trace >= sqltext.AnyTrace && st.IsPlain))
	if leaves.Ask && s.Facts != nil {
		u.left.look(st)
	}
}

// noteUnknown notes a statement whose text is not known. m says what the statement does to the meaning of later texts.
func (u *Use) noteUnknown(ctx context.Context, m sqltext.Meaning) {
	if u.s.Reach.Isolates() {
		u.left.addPlans(sqltext.AnyTrace)
		u.noteSequences(ctx, catalog.Leaves{Trace: sqltext.AnyTrace}, nil)
	}
	u.change(m, true)
}

// WithoutArgument returns err, an error of the last call, without the values of that call's arguments, which may be secret.
func (s *Session) WithoutArgument(err error) error { return s.given.WithoutArgument(err) }

func (s *Session) noteArguments(a pgerr.Arguments) { s.given = a }

// noteSequences notes, before a statement is sent, what it does with sequences. If it is not known, st is nil and leaves.Trace is AnyTrace.
func (u *Use) noteSequences(ctx context.Context, leaves catalog.Leaves, st *catalog.Statement) {
	f := &u.s.foreign
	f.settle(u.call)
	if u.isUnsent(ctx) {
		return
	}
	aside := st != nil && st.Aside // a DISCARD in front of such a statement would take the transaction's snapshot too early
	unknown := leaves.Trace >= sqltext.AnyTrace
	if !aside && (unknown || leaves.Tells) {
		u.s.hideForeign()
	}
	if st != nil {
		if st.Sequences.Moves {
			u.left.move()
		}
		u.inTx = u.inTx || st.Sequences.Begins
	}
	if aside || !unknown && (leaves.Trace < sqltext.SequenceTrace || !leaves.Draws) {
		return
	}
	by := anybody
	if leaves.Trace == sqltext.SequenceTrace && st.Sequences.Steady && !leaves.Other && !u.left.moved && u.left.trace < sqltext.AnyTrace {
		by = st.SQL
	}
	switch {
	case !f.any() || !u.more && !u.inTx:
	case by != anybody && u.s.PG.PgConn().TxStatus() == 'T' && f.only(by) && u.steady(st):
		f.overwrite(u.call)
	default:
		u.s.hideForeign()
	}
	u.left.draw(by)
}

// steady reports whether st is known to draw from the same sequences each time. If that is not known, the server is asked after the lease.
func (u *Use) steady(st *catalog.Statement) bool {
	steady, known := st.IsSteady(u.s.Facts)
	if !known {
		u.left.addUnsteady(st)
	}
	return steady
}

// hideForeign queues a DISCARD of the foreign values in front of the next exchange, and returns what is known of them. It drops nothing if the session
// is not certainly ours, or in a failed transaction, where no statement can return these values.
func (s *Session) hideForeign() (hidden foreign) {
	hidden = s.foreign
	if pc := s.PG.PgConn(); s.foreign.any() && s.Reach.Own() && !pc.IsClosed() && pc.TxStatus() != 'E' {
		s.Wire.QueueFirst(pgwire.Query("discard sequences"))
		s.foreign = foreign{}
	}
	return hidden
}

// showForeign undoes hideForeign if the DISCARD was not sent.
func (s *Session) showForeign(hidden foreign) { s.foreign = hidden }

// commits holds what is known about whether a call, or its transaction, may have committed something before it failed.
type commits struct {
	base   int32 // how many commits the wire had seen when the call, or its transaction, began
	may    bool  // the call runs a statement that may commit before it ends, which the wire does not see
	inside bool  // the call is in a transaction that pgx has begun
}

// startCall notes that a call begins. If first is true, it is the first call of a new user.
func (s *Session) startCall(first bool) {
	if s.commits.may = false; first || !s.commits.inside {
		s.commits = commits{base: s.Wire.CommitsOutside()}
	}
}

// runs notes that a call is going to run a statement. If commits is true, it may commit before it ends. Inside a transaction the wire sees a COMMIT.
func (s *Session) runs(commits bool) {
	s.commits.may = s.commits.may || commits && s.PG.PgConn().TxStatus() == 'I'
}

// Begun notes that pgx has begun a transaction.
func (s *Session) Begun() { s.commits = commits{inside: true, base: s.Wire.Commits()} }

// Ended notes that the transaction that pgx has begun may have ended.
func (s *Session) Ended() { s.commits.inside = s.commits.inside && s.PG.PgConn().TxStatus() != 'I' }

// MayHaveCommitted reports whether the last call, or an earlier one of its transaction, may have committed something.
func (s *Session) MayHaveCommitted() bool {
	return s.commits.may && s.Wire.Executed() && !s.Wire.RefusedUnbound() || s.Wire.Commits() != s.commits.base
}
