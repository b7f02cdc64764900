package isolation

import (
	"context"
	"slices"
	"time"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Left is what users have left in a session since it was clean, and what is to be asked once it is. It has one owner at a time.
type Left struct {
	session.Residue
	unsure   []*catalog.Statement // whose names are not known yet
	unsteady []*catalog.Statement // of which it is not known yet whether they draw from the same sequences each time
}

// maxUnsure is how many statements of one lease are looked at after it.
const maxUnsure = 4

// add has st looked at, if there is room.
func (l *Left) add(st *catalog.Statement) {
	if len(l.unsure) < maxUnsure {
		l.insist(st)
	}
}

// insist has these looked at, whether there is room or not.
func (l *Left) insist(st ...*catalog.Statement) { l.unsure = append(l.unsure, st...) }

// addUnsteady has it asked whether st draws from the same sequences each time.
func (l *Left) addUnsteady(st *catalog.Statement) {
	if !slices.Contains(l.unsteady, st) {
		l.unsteady = append(l.unsteady, st)
	}
}

// merge adds what one user has left, u. With forgive nothing is reset: then only what concerns pgx counts.
func (l *Left) merge(u *Left, forgive bool) {
	l.insist(u.unsure...)
	l.unsteady = u.unsteady
	l.Merge(&u.Residue, forgive)
}

// drop has nothing asked any more, and returns the statements that were to be looked at.
func (l *Left) drop() (unsure []*catalog.Statement) {
	unsure, l.unsure, l.unsteady = l.unsure, nil, nil
	return unsure
}

// IsForeign reports whether something was left, behind a pooler, in a session that may be somebody else's by now.
func (s *Session) IsForeign() bool {
	return !s.Reach.Own() && s.Reach.Isolates() && (s.left.Trace() > sqltext.NoTrace || s.foreign.Any())
}

// Postpone has another connection look at what was to be asked on this one.
func (s *Session) Postpone() { s.Catalog.Postpone(s.left.drop()) }

// IsSpoiled reports whether something was left that nothing takes away.
func (s *Session) IsSpoiled() bool {
	_, complete := s.left.Parsed()
	return !complete || s.foreign.Any() && s.Baseline.Draws // those values cannot be told from AfterConnect's
}

// NeedsReset reports whether something was left that a reset takes away.
func (s *Session) NeedsReset() bool {
	return s.left.Trace() > sqltext.SequenceTrace && s.Reach.Isolates()
}

// QueueReset queues that, in front of the next flight. It reports false if it is not possible.
func (s *Session) QueueReset() bool {
	if !s.queue(s.left.Due(s.Baseline), s.left.Plans()) {
		if s.Baseline.Lasting {
			s.closesBecause("AfterConnect leaves what no reset keeps: it listens, or holds an advisory lock, something temporary or a cursor",
				"do that on a connection of its own")
		}
		return false
	}
	s.left.insist(s.doubts()...)
	return true
}

// IsTidy reports whether there is nothing to do for Tidy. queued: but that a reset is queued.
func (s *Session) IsTidy(now time.Time, queued bool) bool {
	l := &s.left
	if parsed, _ := l.Parsed(); len(parsed) > 0 || len(l.unsure) > 0 || len(l.unsteady) > 0 || s.Facts != nil && s.Facts.IsDue(now) {
		return false
	}
	return !queued || !l.Odd() && // the server's configuration may have changed, which no reset takes back: then the session is closed
		!l.Named() && s.PG.PgConn().Frontend().ReadBufferLen() == 0 // of which pgx has heard nothing yet
}

// Tidy sends a reset that is queued and waits for the answer, and does what must not be done in a session that is not clean. It reports whether s is
// clean then.
func (s *Session) Tidy(ctx context.Context, queued bool) bool {
	if !queued {
		s.belief.Note(s.Facts)
	} else if !s.flushReset(ctx) || s.left.Named() && s.dropNamed(ctx) != nil {
		return false
	}
	if parsed, _ := s.left.Parsed(); len(parsed) > 0 && s.forget(ctx, parsed...) != nil {
		return false
	}
	if s.Facts != nil {
		if !s.Facts.Check(ctx, s.Subject().Answers) && !queued { // what ran may have left more than was known
			s.belief = facts.Belief{}
			if !s.resetNow() {
				return false
			}
		}
		for _, st := range s.left.unsure {
			if s.Learn(st); st.Leaves(s.Facts).Trace == sqltext.LastingTrace {
				return false
			}
		}
		for _, st := range s.left.unsteady {
			s.findSteady(st)
		}
	}
	if !s.IsFit() {
		return false
	}
	doubts := s.doubts()
	if queued && len(doubts) > 0 { // a reset has not set again all that the hooks have set
		s.setsAnything(sqltext.Cut(doubts[0].SQL, 80))
		return false
	}
	return true
}

// HandOn notes that s goes to its next user: cleaned, or, if not, believed to be clean.
func (s *Session) HandOn(cleaned bool) {
	if !cleaned {
		s.belief.Note(s.Facts)
	}
	s.left = Left{}
}

func (s *Session) findSteady(st *catalog.Statement) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	st.FindSteady(ctx, s.PG.PgConn(), s.Facts)
}

// doubts are the queries of AfterConnect's of which it is not known yet whether a function in them sets something.
func (s *Session) doubts() (doubts []*catalog.Statement) {
	for _, st := range s.hooks {
		if l := st.Leaves(s.Facts); l.Trace >= sqltext.AnyTrace || l.Other && l.Trace >= sqltext.SessionTrace {
			doubts = append(doubts, st)
		}
	}
	return doubts
}

// ResetIfDoubted has s, which somebody has just got, be reset in front of his first flight if an earlier user may have left something after all: see
// [facts.Belief]. It reports false if that is not possible.
func (s *Session) ResetIfDoubted() bool {
	if !s.Reach.Isolates() || !s.belief.MayBeWrong(s.Facts) {
		return true
	}
	s.belief = facts.Belief{}
	if !s.Reach.Own() || !s.Baseline.Deallocates {
		return s.resetNow()
	}
	s.foreign.Add(session.Anybody)
	return s.queue(sqltext.AnyTrace, true)
}

// queue has s be reset in front of its next flight. It reports false if that is not possible.
func (s *Session) queue(trace sqltext.Trace, plans bool) bool {
	reset, err := s.Baseline.Reset(trace, plans, s.PG.PgConn())
	if err != nil {
		return false
	}
	if plans {
		s.belief = facts.Belief{}
	} else { // that none are to be dropped is by the facts
		s.belief.Note(s.Facts)
	}
	s.Wire.Queue(session.FailClosed())
	s.Wire.Queue(reset)
	s.OnReset()
	s.drainNotifications()
	return true
}

// drainNotifications drops those that pgx keeps for whoever waits for some.
func (s *Session) drainNotifications() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so only for what is there already
	for {
		if n, _ := s.PG.WaitForNotification(ctx); n == nil {
			return
		}
	}
}

// flushReset has a ping carry the reset that is due, and reports whether that was all.
func (s *Session) flushReset(ctx context.Context) bool {
	if s.PG.Ping(ctx) != nil || !s.IsFit() || s.differs() {
		return false
	}
	s.drainNotifications()
	return true
}

// resetNow resets the session, of which it is not known what was left in it, and waits for that.
func (s *Session) resetNow() bool {
	if !s.Reach.Isolates() {
		return true
	}
	if !s.IsFit() || !s.Reach.Own() { // a connection that pgx closes is not ours to arm: it says goodbye beside us
		return false
	}
	s.foreign.Add(session.Anybody)
	var left session.Residue
	left.Add(sqltext.AnyTrace)
	reset, err := s.Baseline.Reset(left.Due(s.Baseline), true, s.PG.PgConn())
	if err != nil {
		return false
	}
	s.Wire.Queue(reset)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.flushReset(ctx) && (!left.Named() || s.dropNamed(ctx) == nil)
}

// differs reports whether the server has reported settings that are not the session's own. It compares them only if some were reported since they
// were last right.
func (s *Session) differs() bool {
	n := s.Wire.Reports()
	if n == s.reports {
		return false
	}
	if s.Baseline.Differs(s.PG.PgConn()) {
		return true
	}
	s.reports = n
	return false
}
