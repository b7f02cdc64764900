package catalog

import (
	"slices"
	"sync/atomic"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// These are the reasons why a statement that found no idle connection went alone, and the keys of pool.LaneStat.Alone.
const (
	AloneAsked   = "asked"      // the call has Alone(ctx) or is inside InTx, or its invocation holds a lease or a transaction
	AloneArgs    = "arguments"  // the call has a mode, QueryResultFormats or a rewriter of the user, or its arguments cannot be encoded
	AloneText    = "text"       // the text is not that of a read
	AloneCalls   = "function"   // the statement calls a function that is not known to be harmless
	AloneNew     = "new"        // the server was not asked about the statement yet
	AloneSlow    = "slow"       // the statement usually takes longer than Slow
	AloneLarge   = "large"      // the result usually has more than Large bytes
	AloneGuarded = "guard"      // the guard once stopped the statement from writing
	AloneWith    = "settings"   // one of the settings of With belongs to PostgreSQL itself
	AloneOnly    = "no company" // no other statement was waiting to ride
)

// Large bounds the bytes of a riding statement's results, on average, and of its arguments, each time. A result of more than memrows.MaxResult bytes is
// dropped, and its statement runs alone from then on.
const Large = 64 << 10

// Shareable returns the reason why s goes alone, or "" if s may ride. Then its arguments have to be encoded for d, and by are the facts that prove it.
func (s *Statement) Shareable() (d *Description, by facts.Proven, why string) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.alone != "" {
		return nil, by, s.alone
	}
	p := s.judgeLocked(s.of.facts())
	by, d = p.By, s.desc.Load()
	switch why = Why(p); {
	case why != "":
	case d == nil:
		why = AloneNew
	case s.took > s.of.Slow:
		why = AloneSlow
	case s.size > Large:
		why = AloneLarge
	default:
		return d, by, ""
	}
	return nil, by, why
}

// IsHarmless reports whether s may ride, or only goes alone because it is slow or its results are large. by are the facts that prove it.
func (s *Statement) IsHarmless() (by facts.Proven, is bool) {
	_, by, why := s.Shareable()
	return by, why == "" || why == AloneSlow || why == AloneLarge
}

// Unfit returns the reason why a statement with this description goes alone, or "" if it may ride. It goes alone if a parameter's type is not known,
// because the way to encode an argument depends on its value then.
func (d *Description) Unfit() string {
	if len(d.Fields) == 0 {
		return AloneText
	}
	if slices.ContainsFunc(d.ParamOIDs, func(oid uint32) bool { return !d.set.Knows(oid) }) {
		return AloneArgs
	}
	return ""
}

// Why returns the reason why the statement that p is about has to go alone, or "" if it may ride.
func Why(p *facts.Proof) string {
	switch {
	case !p.Known:
		return AloneNew
	case p.Why != "" || !p.Rides:
		return AloneCalls
	}
	return ""
}

// judgeLocked returns the proof by f of what s may do, and makes it if there is none yet.
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

// Wants reports whether the server has to be asked about s, before it is known whether and how s may ride.
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

var reasons = [...]string{
	AloneAsked, AloneArgs, AloneText, AloneCalls, AloneNew, AloneSlow, AloneLarge, AloneGuarded, AloneWith, AloneOnly,
}

// Reasons counts for each reason how many statements went alone. Its methods may be called by several goroutines at once.
type Reasons [len(reasons)]atomic.Int64

// Count counts a statement that goes alone because of why.
func (r *Reasons) Count(why string) { r[slices.Index(reasons[:], why)].Add(1) }

// Of returns how many statements went alone because of why.
func (r *Reasons) Of(why string) int64 { return r[slices.Index(reasons[:], why)].Load() }

// All returns the counts that are not 0.
func (r *Reasons) All() map[string]int64 {
	all := make(map[string]int64)
	for i, why := range reasons {
		if n := r[i].Load(); n > 0 {
			all[why] = n
		}
	}
	return all
}
