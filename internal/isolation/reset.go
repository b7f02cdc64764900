package isolation

import (
	"context"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// IsForeign reports whether something was left in a pooled session. Such a connection is closed, since a reset could reach another client's session.
func (s *Session) IsForeign() bool {
	return !s.Reach.Own() && s.Reach.Isolates() && (s.left.trace > sqltext.NoTrace || s.foreign.any())
}

// Postpone leaves to another connection the questions about statements that this connection was to ask.
func (s *Session) Postpone() { s.Catalog.Postpone(s.left.drop()) }

// IsSpoiled reports whether something was left that nothing takes away.
func (s *Session) IsSpoiled() bool {
	return s.left.lost || s.foreign.any() && s.Baseline.Draws // AfterConnect's own values would be dropped too
}

// NeedsReset reports whether something was left that a reset takes away.
func (s *Session) NeedsReset() bool {
	return s.left.trace > sqltext.SequenceTrace && s.Reach.Isolates()
}

// QueueReset queues the reset in front of the next exchange. It returns false if no reset takes everything away.
func (s *Session) QueueReset() bool {
	if !s.queue(s.left.due(s.Baseline), s.left.plans) {
		if s.Baseline.Lasting {
			s.closesBecause("AfterConnect leaves what no reset keeps: it listens, or holds an advisory lock, something temporary or a cursor",
				"do that on a connection of its own")
		}
		return false
	}
	s.left.insist(s.doubts()...)
	return true
}

// IsTidy reports whether Tidy has nothing to do. queued says whether a reset is queued, and asks whether what LooksDue is about is due.
func (s *Session) IsTidy(queued, asks bool) bool {
	l := &s.left
	if len(l.parsed) > 0 || len(l.unsteady) > 0 || asks || l.urgent {
		return false
	}
	// If settings are odd, the server's configuration may have changed, which no reset undoes: Tidy finds out. Named statements have to be dropped
	// through pgx. pgx does not know yet of messages that are still in its read buffer.
	return !queued || !l.odd && !l.named && s.PG.PgConn().Frontend().ReadBufferLen() == 0
}

// Tidy sends the queued reset, if there is one, and waits for the answer. Then it asks the questions that need a clean session, if asks is true also
// those that LooksDue is about. It reports whether s is clean.
func (s *Session) Tidy(ctx context.Context, queued, asks bool) bool {
	if !queued {
		s.belief.Note(s.Facts)
	} else if !s.flushReset(ctx) || s.left.named && s.dropNamed(ctx) != nil {
		return false
	}
	if len(s.left.parsed) > 0 && s.forget(ctx, s.left.parsed...) != nil {
		return false
	}
	if s.Facts != nil {
		if (asks || s.left.urgent) && !s.look(ctx, queued) {
			return false
		}
		for _, st := range s.left.unsteady {
			st.FindSteady(ctx, s.PG.PgConn(), s.Facts)
		}
	}
	if !s.IsFit() {
		return false
	}
	doubts := s.doubts()
	if queued && len(doubts) > 0 { // AfterConnect may have set something that the reset has not restored
		s.setsAnything(sqltext.Shown(doubts[0].SQL, 80))
		return false
	}
	return true
}

// look asks for the sign, and for what is not known of the statements that were put off, for a few of them if that is not urgent. If nobody waits at
// first, it ends when somebody does. It reports whether s is clean.
func (s *Session) look(ctx context.Context, queued bool) bool {
	s.looks.Add(1)
	defer s.looks.Add(-1)
	on := s.Subject()
	held := s.Facts.Check(ctx, on.Answers)
	if !held && !queued && s.Reach.Isolates() && !s.resetNow() { // the facts were wrong, so a statement may have left more than they said
		return false
	}
	if !s.left.urgent && !s.putsNothingOff() && !s.Waits() {
		on.Yields = s.Waits
	}
	for n := 0; len(s.left.unsure) > 0 && (n < maxUnsure || s.left.urgent); n++ {
		st := s.left.unsure[0]
		s.Learn(st, on)
		if on.HasYielded() {
			break
		}
		s.left.looked()
		if st.Leaves(s.Facts).Trace == sqltext.LastingTrace {
			return false
		}
	}
	return true
}

// HandOn notes that s goes to its next user. If cleaned is true, s was reset or tidied. Otherwise only the facts say that s is clean.
func (s *Session) HandOn(cleaned bool) {
	if !cleaned {
		s.belief.Note(s.Facts)
	}
	s.left = s.left.rest()
}

// doubts returns AfterConnect's queries that may have set something through a function, according to what is known of them.
func (s *Session) doubts() (doubts []*catalog.Statement) {
	for _, st := range s.hooks {
		if l := st.Leaves(s.Facts); l.Trace >= sqltext.AnyTrace || l.Other && l.Trace >= sqltext.SessionTrace {
			doubts = append(doubts, st)
		}
	}
	return doubts
}

// ResetIfDoubted is called when s was just lent. If an earlier user may have left something after all (see [facts.Belief]), it resets s, now or in
// front of the new user's first exchange. It returns false if s cannot be reset.
func (s *Session) ResetIfDoubted() bool {
	if !s.Reach.Isolates() || !s.belief.MayBeWrong(s.Facts) {
		return true
	}
	if !s.Reach.Own() || !s.Baseline.Deallocates {
		return s.resetNow()
	}
	s.foreign.add(anybody)
	return s.queue(sqltext.AnyTrace, true)
}

// queue queues a reset in front of the next exchange. It returns false if no reset takes all of trace away.
func (s *Session) queue(trace sqltext.Trace, plans bool) bool {
	reset, err := s.Baseline.Reset(trace, plans, s.PG.PgConn())
	if err != nil {
		return false
	}
	if plans {
		s.belief = facts.Belief{}
	} else { // plans are kept, because the facts say that none has another meaning
		s.belief.Note(s.Facts)
	}
	first := session.FailClosed()
	first.Between, reset.Between = true, true
	s.Wire.Queue(first)
	s.Wire.Queue(reset)
	s.route.reset, s.route.own = true, s.Baseline.Name()
	s.OnReset(s, s.left.why(trace))
	s.drainNotifications()
	return true
}

// drainNotifications drops the notifications that pgx has received and keeps for WaitForNotification, so that the next user does not get them.
func (s *Session) drainNotifications() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so that WaitForNotification does not wait for new ones
	for {
		if n, _ := s.PG.WaitForNotification(ctx); n == nil {
			return
		}
	}
}

// flushReset sends the queued reset with a ping, and reports whether the session is clean.
func (s *Session) flushReset(ctx context.Context) bool {
	if s.PG.Ping(ctx) != nil || !s.IsFit() || s.differs() {
		return false
	}
	s.drainNotifications()
	return true
}

// resetNow resets a session in which anything may have been left, waits for the answer, and reports whether the session is clean.
func (s *Session) resetNow() bool {
	if !s.IsFit() || !s.Reach.Own() { // nothing may be queued while pgx closes the connection, since another goroutine then sends the Terminate
		return false
	}
	s.foreign.add(anybody)
	var left residue
	left.add(sqltext.AnyTrace)
	if !s.queue(left.due(s.Baseline), true) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.flushReset(ctx) && (!left.named || s.dropNamed(ctx) == nil)
}

// differs reports whether the server has reported settings other than those of the clean session. It compares only if one was reported since.
func (s *Session) differs() bool {
	n := s.Wire.Reports()
	if n == s.reports {
		return false
	}
	if s.Baseline.Differs(s.PG.PgConn(), s.route.label) {
		return true
	}
	s.reports = n
	return false
}
