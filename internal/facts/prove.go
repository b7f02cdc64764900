package facts

import (
	"context"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// Know asks what is not known of what m mentions, and of types. With it goes what is not known of beside, since to ask about many costs
// little more than to ask about one. It reports whether all is known by then. An error is to be told: for a while nothing is asked then.
func (f *Facts) Know(ctx context.Context, ask Ask, m *sqltext.Mentions, types []uint32, beside func() []*sqltext.Mentions) (bool, error) {
	if f.rests(time.Now()) {
		return false, nil
	}
	for range maxBodies { // again for what the last answers have named: types, the bodies of functions
		w := wanted{}
		if w.add(f.missing(m, types)); w.isEmpty() {
			break
		}
		for _, other := range beside() {
			if len(w.names) < maxAsked {
				w.add(f.missing(other, nil))
			}
		}
		sent := time.Now()
		k, err := f.find(ctx, ask, w)
		if err != nil {
			if !f.restAfter(err) {
				err = nil
			}
			return false, err
		}
		f.learn(k, 0)
		f.signedAt.CompareAndSwap(0, sent.UnixNano())
	}
	return true, nil
}

// missing is what is not known yet of what a statement mentions, and of what the code of the user's own mentions that it leads to.
func (f *Facts) missing(m *sqltext.Mentions, types []uint32) wanted {
	f.mu.RLock()
	defer f.mu.RUnlock()
	all, _ := f.expandedLocked(m, types)
	w := f.missingLocked(all, types)
	if w.isEmpty() && f.refutedLocked(all, types) != "" {
		l := f.ledLocked(m, nil, types)
		w = f.missingLocked(&l.mentions, types)
	}
	return w
}

// missingLocked is what is not known of what m mentions, and of types.
func (f *Facts) missingLocked(m *sqltext.Mentions, types []uint32) (w wanted) {
	w.global = f.global == nil
	unknown := func(types []uint32) {
		for _, t := range types {
			if t >= FirstUserOID && f.nodes[node{'t', t}] == nil {
				w.types = append(w.types, t)
			}
		}
	}
	for _, names := range [][]string{m.Called, m.Dotted} {
		for _, name := range names {
			if k := f.functions[name]; k != nil {
				unknown(k.types)
			} else {
				w.functions = append(w.functions, name)
			}
		}
	}
	for u, names := range byUse(m) {
		for _, n := range names {
			if f.names[nameKey{n, u}] == nil {
				w.names = append(w.names, nameKey{n, u})
			}
		}
	}
	unknown(types)
	return w
}

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
