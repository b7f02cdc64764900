package pool

import (
	"slices"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// proof is what the facts say of a statement.
type proof struct {
	gen   uint64
	known bool          // all that the statement mentions is
	told  bool          // so is all that code of the user's own mentions, or will not be
	why   string        // it may run code of the user's own; "": it is proven that it does not
	rides bool          // what it calls has no effect but its result
	trace sqltext.Trace // what it leaves in its session
	tells bool          // it reaches what tells values of sequences: currval, lastval
	draws bool          // it reaches what changes them: nextval, setval
	plans bool          // functions may plan while what decides the meaning of a text is set
}

// prove says what is known of a statement that mentions m, names functions and has parameters and columns of types.
func (f *facts) prove(m *sqltext.Mentions, functions []sqltext.Function, types []uint32) (p proof) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	p.gen, p.trace, p.plans = f.gen.Load(), sqltext.AnyTrace, true
	all, calls := f.expandedLocked(m, types)
	if w := f.missingLocked(all, types); !w.isEmpty() {
		return p
	}
	p.known, p.why = true, f.refutedLocked(all, types)
	if p.why != "" {
		l := f.ledLocked(m, functions, types)
		missing := f.missingLocked(&l.mentions, types)
		p.told = missing.isEmpty()
		p.plans = l.plans || !p.told
		if l.trace == sqltext.LastingTrace {
			p.trace = l.trace
		}
		if !p.told || l.trace > sqltext.NoTrace {
			return p
		}
		calls = l.calls
	} else {
		calls = append(calls, functions...)
		for _, r := range f.reachedLocked(all, types) {
			calls = append(calls, r.call...)
		}
	}
	p.told, p.rides, p.trace, p.plans = true, p.why == "", sqltext.NoTrace, false
	for _, c := range calls {
		if f.trusted(c) || p.why != "" && f.isTheUsers(c) {
			continue
		}
		p.rides = p.rides && c.Harmless()
		p.trace = max(p.trace, c.Trace())
		p.tells, p.draws = p.tells || c.TellsSequence(), p.draws || c.Trace() == sqltext.SequenceTrace
	}
	return p
}

// isTheUsers reports whether c is certainly none of PostgreSQL's own functions. What the user's own leave is in their bodies; what
// is nobody's is syntax, or fails.
func (f *facts) isTheUsers(c sqltext.Function) bool {
	k := f.functions[c.Name]
	return k != nil && !k.builtin
}

// trusted reports whether c is a function of the user's that he has vouched for, or of an extension that says that it is
// not volatile, and no other of its name is anybody else's.
func (f *facts) trusted(c sqltext.Function) bool {
	if f.allowed(c) {
		return true
	}
	k := f.functions[c.Name]
	return k != nil && k.extension && !k.builtin && len(k.own) == 0
}

// ownOf reports whether name may mean a function of the user's own in one of schemas, other than those he has vouched for.
func (f *facts) ownOf(name string, schemas []string) bool {
	return slices.ContainsFunc(schemas, func(s string) bool { return !f.allowed(sqltext.Function{Schema: s, Name: name}) })
}

// refutedLocked says why a statement of known names may run code of the user's own: "" if it certainly does not.
func (f *facts) refutedLocked(m *sqltext.Mentions, types []uint32) string {
	if f.global.builtin {
		return "built-in type"
	}
	for _, name := range m.Called {
		if k := f.functions[name]; f.ownOf(name, k.own) || k.sets {
			return "function"
		}
	}
	for _, name := range m.Dotted {
		k := f.functions[name]
		if f.ownOf(name, k.ownOne) || k.builtinOne && !sqltext.Harmless(name) {
			return "attribute"
		}
	}
	for _, o := range f.global.operators {
		if m.HasOperator(o.name) && !f.allowed(o.does) && !o.does.Harmless() {
			return "operator"
		}
	}
	for _, r := range f.reachedLocked(m, types) {
		if why := f.strangeLocked(r); why != "" {
			return why
		}
		if len(r.runs) > 0 {
			return "trigger"
		}
		if slices.ContainsFunc(r.own, func(c sqltext.Function) bool { return !f.allowed(c) }) {
			return "reached function"
		}
	}
	return ""
}

// strangeLocked says why nobody knows what of the user's own runs when r is reached: "" if that is known.
func (f *facts) strangeLocked(r *extent) string {
	switch {
	case r.bad != "":
		return r.bad
	case slices.ContainsFunc(r.all, func(t uint32) bool { return f.global.types[t] }):
		return "type"
	case slices.ContainsFunc(r.uses, func(t uint32) bool { return f.global.families[t] }):
		return "operator class"
	}
	return ""
}

// reachedLocked is what the relations and types that m and types name lead to.
func (f *facts) reachedLocked(m *sqltext.Mentions, types []uint32) (all []*extent) {
	add := func(nodes []node) {
		for _, n := range nodes {
			if k := f.nodes[n]; k != nil && k.deep != nil {
				all = append(all, k.deep)
			}
		}
	}
	for u, names := range byUse(m) {
		for _, n := range names {
			if k := f.names[nameKey{n, u}]; k != nil {
				add(k.nodes)
			}
		}
	}
	for _, t := range types {
		add([]node{{'t', t}})
	}
	for _, name := range m.Called {
		if k := f.functions[name]; k != nil {
			for _, t := range k.types {
				add([]node{{'t', t}})
			}
		}
	}
	return all
}

// expandedLocked is m together with what the bodies of trusted functions mention that it leads to, and the functions that they call.
func (f *facts) expandedLocked(m *sqltext.Mentions, types []uint32) (*sqltext.Mentions, []sqltext.Function) {
	if !f.bodies {
		return m, nil
	}
	var calls []sqltext.Function
	all, seen := *m, map[string]bool{}
	for more := true; more; {
		more = false
		names := slices.Concat(all.Called, all.Dotted)
		for _, r := range f.reachedLocked(&all, types) {
			for _, c := range r.call {
				names = append(names, c.Name)
			}
		}
		for _, name := range names {
			k := f.functions[name]
			if k == nil || seen[name] || len(k.bodies) == 0 {
				continue
			}
			seen[name], more = true, true
			for _, b := range k.bodies {
				all = all.And(&b.Mentions)
				calls = append(calls, b.Functions...)
			}
		}
	}
	return &all, calls
}

func byUse(m *sqltext.Mentions) map[use][]sqltext.Name {
	return map[use][]sqltext.Name{reads: m.Names, changes: m.Changed, inserts: m.Written}
}

// why is p's reason in the words of [Stat.AloneCount].
func (p proof) reason() string {
	switch {
	case !p.known:
		return aloneNew
	case p.why != "" || !p.rides:
		return aloneCalls
	}
	return ""
}
