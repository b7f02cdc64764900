package catalog

import (
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Shareable returns why s goes alone, or "" if it may ride. Then d is what its arguments have to be encoded for, and by are the facts that say that
// it may ride.
func (s *Statement) Shareable() (d *Description, by facts.Proven, why string) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.alone != "" {
		return nil, by, s.alone
	}
	p := s.judgeLocked(s.of.facts())
	d = s.desc.Load()
	switch why = Why(p); {
	case why != "":
	case d == nil:
		why = AloneNew
	case s.took > s.of.Slow:
		why = AloneSlow
	case s.size > Large:
		why = AloneLarge
	default:
		return d, p.By, ""
	}
	return nil, by, why
}

// IsHarmless reports whether s may ride, or could if it took less time and had smaller results.
func (s *Statement) IsHarmless() bool {
	_, _, why := s.Shareable()
	return why == "" || why == AloneSlow || why == AloneLarge
}

// Why returns why the statement that p is about has to go alone: "" if it may ride.
func Why(p *facts.Proof) string {
	switch {
	case !p.Known:
		return AloneNew
	case p.Why != "" || !p.Rides:
		return AloneCalls
	}
	return ""
}

// judgeLocked returns what f says of s now.
func (s *Statement) judgeLocked(f *facts.Facts) *facts.Proof {
	if f == nil || s.Mentions == nil {
		return &unjudged
	}
	if !s.proof.Known || !s.proof.Told || !s.proof.By.Holds(f) {
		var types []uint32
		if d := s.desc.Load(); d != nil {
			types = d.user
		}
		s.proof = f.Prove(s.Mentions, s.Functions, types)
	}
	return &s.proof
}

// unjudged is the proof of a statement that cannot be judged: it may leave anything.
var unjudged = facts.Proof{Trace: sqltext.AnyTrace}

// Wants reports whether s needs a look: without one it is not known whether s may ride, or how.
func (s *Statement) Wants() bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.wantsLocked()
}

func (s *Statement) wantsLocked() bool {
	d := s.desc.Load()
	if s.alone != "" || d != nil && s.proof.Known && !s.doubted {
		return false
	}
	p := s.judgeLocked(s.of.facts())
	return !p.Known || Why(p) == "" && (d == nil || s.doubted)
}
