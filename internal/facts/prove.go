package facts

import (
	"context"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// Know asks the server for the missing facts about types and about what m mentions, and reports whether all are known then. The same questions also
// ask about what beside returns, since asking about many names costs little more than asking about one. After an error no question is asked for a
// while, so the caller should log the error.
func (f *Facts) Know(ctx context.Context, ask Ask, m *sqltext.Mentions, types []uint32, beside func() []*sqltext.Mentions) (bool, error) {
	if f.rests(time.Now()) {
		return false, nil
	}
	for range maxBodies { // the last answers may have named more: types, functions in bodies
		w := wanted{}
		if w.add(f.missing(m, types)); w.isEmpty() {
			break
		}
		if w.global { // alone, so that a caller who comes meanwhile waits for one question only
			w = wanted{global: true}
		} else {
			for _, other := range beside() {
				if len(w.names) < maxAsked {
					w.add(f.missing(other, nil))
				}
			}
		}
		sent := time.Now()
		k, err := find(ctx, ask, w)
		if err != nil {
			if !f.restAfter(err) {
				err = nil
			}
			return false, err
		}
		f.learn(k, false)
		f.signedAt.CompareAndSwap(nil, &sent)
	}
	return true, nil
}

// missing returns the facts that are missing about what a statement mentions, and about what is mentioned by the user's code to which it leads.
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

// missingLocked returns the facts that are missing about what m mentions and about types.
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

// Proof is what the facts say about a statement.
type Proof struct {
	By    Proven
	Known bool          // all facts about what the statement mentions are known
	Told  bool          // all facts about what the user's code mentions are known too, or are not needed
	Why   string        // why the statement may run code of the user's own; "" if it is proven that it does not
	Rides bool          // the functions that the statement calls have no effect except their results
	Trace sqltext.Trace // what the statement leaves in its session
	Tells bool          // the statement may call currval or lastval
	Self  bool          // the statement may call a function that says which session it runs in
	Draws bool          // the statement may call nextval or setval
	Plans bool          // functions may plan while a setting on which the meaning of texts depends is changed
}

// Prove says what the facts prove about a statement that mentions m, names functions, and has parameters and columns of types.
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
		p.Self = p.Self || c.TellsSession()
	}
	return p
}
