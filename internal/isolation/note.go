package isolation

import (
	"context"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// note notes what a statement is going to leave behind, and what it does to the meaning of later texts, which counts where nothing is reset too. st
// is what is known of it; nil: that was not asked.
func (u *Use) note(ctx context.Context, st *catalog.Statement, sql string, args []any) {
	s := u.s
	s.noteArguments(pgerr.Arguments{Args: args})
	if st == nil {
		var ok bool
		sql, ok = pgxargs.Text(ctx, sql, args)
		if !ok || !u.with.Custom() || len(sql) > catalog.MaxText {
			s.runs(!ok || sqltext.CommitsOnItsWay(sql))
			u.noteUnknown(sqltext.MayChangeMeaning)
			return
		}
		st = s.Catalog.Find(sql, u.with.Key())
	}
	s.runs(st.Commits)
	if text, known := s.TextOf(sql); !known {
		u.noteUnknown(sqltext.KeepsMeaning)
		return
	} else if text != sql {
		st = s.Catalog.Find(text, u.with.Key())
	}
	leaves := st.Leaves(s.Facts)
	trace := leaves.Trace
	if s.Reach.Isolates() {
		if st.Asks && u.meaning != meansSame { // its names may lead to others than those that were judged
			leaves.Trace, leaves.Plans = max(trace, sqltext.AnyTrace), true
		}
		if u.left.Add(leaves.Trace); leaves.Trace >= sqltext.AnyTrace && leaves.Plans {
			u.left.AddPlans(leaves.Trace)
		}
		u.noteSequences(leaves, st)
	}
	u.change(st.Meaning, trace >= sqltext.SessionTrace && (trace > st.Trace || trace >= sqltext.AnyTrace && st.IsPlain))
	if leaves.Ask && s.Facts != nil {
		u.left.add(st)
	}
}

// noteUnknown notes a statement that nobody knows; m is what it does to the meaning of later texts, as far as that is known.
func (u *Use) noteUnknown(m sqltext.Meaning) {
	if u.s.Reach.Isolates() {
		u.left.AddPlans(sqltext.AnyTrace)
		u.noteSequences(catalog.Leaves{Trace: sqltext.AnyTrace}, nil)
	}
	u.change(m, true)
}

// WithoutArgument is err, of the last call, without the arguments that it was given.
func (s *Session) WithoutArgument(err error) error { return s.given.WithoutArgument(err) }

func (s *Session) noteArguments(a pgerr.Arguments) { s.given = a }

// Rest notes that nobody uses s now.
func (s *Session) Rest() {
	s.Bind(nil)
	s.noteArguments(pgerr.Arguments{})
}

// noteSequences notes what a statement does with the values of sequences, before it is sent. st is nil if nobody knows the statement, and then it
// leaves AnyTrace.
func (u *Use) noteSequences(leaves catalog.Leaves, st *catalog.Statement) {
	f := &u.s.foreign
	f.Settle(u.call)
	aside := st != nil && st.Aside // DISCARD would take a snapshot, which may be too early
	unknown := leaves.Trace >= sqltext.AnyTrace
	if !aside && (unknown || leaves.Tells) {
		u.s.hideForeign()
	}
	if st != nil {
		if st.Sequences.Moves {
			u.left.Move()
		}
		u.inTx = u.inTx || st.Sequences.Begins
	}
	if aside || !unknown && (leaves.Trace < sqltext.SequenceTrace || !leaves.Draws) {
		return
	}
	by := session.Anybody
	if leaves.Trace == sqltext.SequenceTrace && st.Sequences.Steady && !leaves.Other && !u.left.Moved() && u.left.Trace() < sqltext.AnyTrace {
		by = st.SQL
	}
	switch {
	case !f.Any() || !u.more && !u.inTx:
	case by != session.Anybody && u.s.PG.PgConn().TxStatus() == 'T' && f.Only(by) && u.steady(st):
		f.Overwrite(u.call)
	default:
		u.s.hideForeign()
	}
	u.left.Draw(by)
}

// steady reports whether st draws from the same sequences each time, as far as is known. If nobody has asked, it is asked after the lease.
func (u *Use) steady(st *catalog.Statement) bool {
	steady, known := st.IsSteady(u.s.Facts)
	if !known {
		u.left.addUnsteady(st)
	}
	return steady
}

// hideForeign has foreign values dropped in front of the next flight, if the session is ours, and returns them. In a transaction that has failed none
// is told.
func (s *Session) hideForeign() (hidden session.Foreign) {
	hidden = s.foreign
	if pc := s.PG.PgConn(); s.foreign.Any() && s.Reach.Own() && !pc.IsClosed() && pc.TxStatus() != 'E' {
		s.Wire.QueueFirst(pgwire.Query("discard sequences"))
		s.foreign = session.Foreign{}
	}
	return hidden
}

// showForeign takes that back: what was queued was not sent.
func (s *Session) showForeign(hidden session.Foreign) { s.foreign = hidden }

// commits is what is known of what a call, or its transaction, may have committed before it failed.
type commits struct {
	base   int32 // how many commits the wire had heard when the call began, or the transaction that it is in
	may    bool  // it runs what may commit on its way, of which the wire hears nothing
	inside bool  // it is in a transaction of pgx's
}

// startCall notes that a call begins. first: of a new user.
func (s *Session) startCall(first bool) {
	if s.commits.may = false; first || !s.commits.inside {
		s.commits = commits{base: s.Wire.CommitsOutside()}
	}
}

// runs notes that a call is going to run what commits on its way, or may. Inside a transaction nothing but COMMIT commits, and the wire hears that.
func (s *Session) runs(commits bool) {
	s.commits.may = s.commits.may || commits && s.PG.PgConn().TxStatus() == 'I'
}

// Begun notes that a transaction of pgx's has begun.
func (s *Session) Begun() { s.commits = commits{inside: true, base: s.Wire.Commits()} }

// Ended notes that there may be none any more.
func (s *Session) Ended() { s.commits.inside = s.commits.inside && s.PG.PgConn().TxStatus() != 'I' }

// MayHaveCommitted reports whether something may have been committed by the last call, or before it in its transaction.
func (s *Session) MayHaveCommitted() bool {
	return s.commits.may && s.Wire.Executed() && !s.Wire.RefusedUnbound() || s.Wire.Commits() != s.commits.base
}
