package facts

import (
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Proof is what facts say of a statement.
type Proof struct {
	By    Proven
	Known bool          // all that the statement mentions is
	Told  bool          // so is all that code of the user's own mentions, or will not be
	Why   string        // it may run code of the user's own; "": it is proven that it does not
	Rides bool          // what it calls has no effect but its result
	Trace sqltext.Trace // what it leaves in its session
	Tells bool          // it reaches what tells values of sequences: currval, lastval
	Draws bool          // it reaches what changes them: nextval, setval
	Plans bool          // functions may plan while what decides the meaning of a text is set
}

// Prove says what is known of a statement that mentions m, names functions and has parameters and columns of types.
func (f *Facts) Prove(m *sqltext.Mentions, functions []sqltext.Function, types []uint32) (p Proof) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	p.By, p.Trace, p.Plans = f.Now(), sqltext.AnyTrace, true
	all, calls := f.expandedLocked(m, types)
	if w := f.missingLocked(all, types); !w.isEmpty() {
		return p
	}
	p.Known, p.Why = true, f.refutedLocked(all, types)
	if p.Why != "" {
		l := f.ledLocked(m, functions, types)
		missing := f.missingLocked(&l.mentions, types)
		p.Told = missing.isEmpty()
		p.Plans = l.plans || !p.Told
		if l.trace == sqltext.LastingTrace {
			p.Trace = l.trace
		}
		if !p.Told || l.trace > sqltext.NoTrace {
			return p
		}
		calls = l.calls
	} else {
		calls = append(calls, functions...)
		for _, r := range f.reachedLocked(all, types) {
			calls = append(calls, r.call...)
		}
	}
	p.Told, p.Rides, p.Trace, p.Plans = true, p.Why == "", sqltext.NoTrace, false
	for _, c := range calls {
		if f.trusted(c) || p.Why != "" && f.isTheUsers(c) {
			continue
		}
		p.Rides = p.Rides && c.Harmless()
		p.Trace = max(p.Trace, c.Trace())
		p.Tells, p.Draws = p.Tells || c.TellsSequence(), p.Draws || c.Trace() == sqltext.SequenceTrace
	}
	return p
}
