package isolation

import (
	"slices"
	"time"

	"github.com/lmipool/lmipool/internal/catalog"
)

// On a new connection a look takes 20 to 80 ms, since the server plans each question with empty caches. Whoever comes for the connection meanwhile waits.
// So looks are put off until nobody is in the way, or until they pay because callers wait who could ride. Until then a reset takes away whatever the
// statements may have left. The question for the sign of the facts is put off in the same way. Nothing is put off in a database that has dblink: code
// behind a view or a trigger may open connections with it, which no reset takes away.
const (
	LookAfter = 20 * time.Millisecond // how long a connection is idle before it is used for what was put off
	// longest is how long looks are put off while the connection is in use, though nobody waits: a reset for each statement costs more in the long run.
	// The sign is put off for longestSign: when the last one is a second old, sessions are reset that the facts call clean.
	longest     = time.Second
	longestSign = 500 * time.Millisecond
)

// HasPutOff reports whether something was put off that the connection is to ask when it has been idle for LookAfter.
func (s *Session) HasPutOff(now time.Time) bool { return len(s.left.unsure) > 0 || s.signDue(now) }

func (s *Session) putsNothingOff() bool { return s.AtOnce || s.Baseline != nil && s.Baseline.Dialers }

func (s *Session) signDue(now time.Time) bool { return s.Facts != nil && s.Facts.IsDue(now) }

// LooksDue is called when the connection comes back. It reports whether looks and the sign are due now, before the next user gets the connection.
func (s *Session) LooksDue(now time.Time) bool {
	if s.left.urgent {
		return true
	}
	if !s.HasPutOff(now) {
		s.since = time.Time{}
		return false
	}
	if s.since.IsZero() {
		s.since = now
	}
	waits, sign := s.Waits(), s.signDue(now)
	pays := s.keepsWaiting(now, waits)
	switch {
	case s.putsNothingOff(), sign && (waits || now.Sub(s.since) > longestSign):
		return true
	case waits: // one connection at a time asks for facts
		return pays && (s.looks.Load() == 0 || !slices.ContainsFunc(s.left.unsure, func(st *catalog.Statement) bool { return !st.IsJudged() }))
	}
	return len(s.left.unsure) > 0 && now.Sub(s.since) > longest
}

// payAfter is how long callers have waited all the time when looks begin to pay: the wait has then cost about as much as a look does.
const payAfter = 10 * time.Millisecond

var opened = time.Now()

// keepsWaiting notes whether callers wait now, when a connection comes back, and reports whether they have waited for payAfter.
func (p *patience) keepsWaiting(now time.Time, wait bool) bool {
	if !wait {
		p.waiting.Store(0)
		return false
	}
	at := max(1, int64(now.Sub(opened))) // by the monotonic clock
	p.waiting.CompareAndSwap(0, at)
	return at-p.waiting.Load() >= int64(payAfter)
}
