package catalog

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Why a statement that found no idle connection went alone: the keys of pool.LaneStat.Alone.
const (
	AloneAsked   = "asked"      // Alone(ctx), or its invocation holds a lease or a transaction, or it is inside InTx
	AloneArgs    = "arguments"  // it has a mode, result formats or a rewriter, or its arguments cannot be encoded
	AloneText    = "text"       // its text is not a read
	AloneCalls   = "function"   // it calls something that is not known to be harmless
	AloneNew     = "new"        // it is not known yet
	AloneSlow    = "slow"       // it usually takes longer than Slow
	AloneLarge   = "large"      // its result usually has more than Large bytes
	AloneGuarded = "guard"      // the guard once stopped it from writing
	AloneWith    = "settings"   // one of the settings of With is PostgreSQL's own
	AloneOnly    = "no company" // nobody else was waiting to ride
)

// Large is how many bytes the results of a statement that rides may have on average, and its arguments each time. A result of more than
// memrows.MaxResult bytes is dropped, and its statement runs alone from then on.
const Large = 64 << 10

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

// Unfit returns why a statement with this description goes alone: "" if it may ride. It goes alone if a parameter's type is not known, because then
// the way to encode an argument depends on its value.
func (d *Description) Unfit() string {
	if len(d.Fields) == 0 {
		return AloneText
	}
	if slices.ContainsFunc(d.ParamOIDs, func(oid uint32) bool { return !d.set.Knows(oid) }) {
		return AloneArgs
	}
	return ""
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

// pace has moving averages, in which a run counts for an eighth: of the time that a statement takes on the server, and of its results' bytes.
type pace struct {
	took  time.Duration
	known bool // took is known
	size  int
}

func (p *pace) observe(took time.Duration, size int) {
	took = max(0, took)
	if !p.known { // the first run counts for half, because it may be slow by chance
		p.took, p.known = took/2, true
	} else {
		p.took += (took - p.took) / 8
	}
	switch {
	case size > memrows.MaxResult:
		p.size = size
	case size >= 0 && p.size <= memrows.MaxResult:
		p.size += (size - p.size) / 8
	}
}

var reasons = [...]string{
	AloneAsked, AloneArgs, AloneText, AloneCalls, AloneNew, AloneSlow, AloneLarge, AloneGuarded, AloneWith, AloneOnly,
}

// Reasons counts for each reason how many statements went alone. Its methods may be called by several goroutines at once.
type Reasons [len(reasons)]atomic.Int64

// Count counts a statement that goes alone because of why.
func (r *Reasons) Count(why string) { r[slices.Index(reasons[:], why)].Add(1) }

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
