package facts

import (
	"slices"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// reachedLocked returns all that types, and the relations and types that m mentions, lead to.
func (f *Facts) reachedLocked(m *sqltext.Mentions, types []uint32) (all []*extent) {
	add := func(n node) {
		if k := f.nodes[n]; k != nil && k.deep != nil {
			all = append(all, k.deep)
		}
	}
	for u, names := range byUse(m) {
		for _, name := range names {
			if k := f.names[nameKey{name, u}]; k != nil {
				for _, n := range k.nodes {
					add(n)
				}
			}
		}
	}
	for _, t := range types {
		add(node{'t', t})
	}
	for _, name := range m.Called {
		if k := f.functions[name]; k != nil {
			for _, t := range k.types {
				add(node{'t', t})
			}
		}
	}
	return all
}

// expandedLocked returns m together with what is mentioned in the bodies of the trusted functions to which m leads. calls are what these bodies call.
func (f *Facts) expandedLocked(m *sqltext.Mentions, types []uint32) (_ *sqltext.Mentions, calls []sqltext.Function) {
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

// isTheUsers reports whether c is certainly not one of PostgreSQL's own functions. Then c is a function of the user's, whose body says what it leaves,
// or there is no such function, and c is syntax or an error.
func (f *Facts) isTheUsers(c sqltext.Function) bool {
	k := f.functions[c.Name]
	return k != nil && !k.builtin
}

// trusted reports whether c is in Config.LaneFunctions, or is a trusted function of an extension whose name no other function has.
func (f *Facts) trusted(c sqltext.Function) bool {
	k := f.functions[c.Name]
	return f.Allowed(c) || k != nil && k.extension && !k.builtin && len(k.own) == 0
}

// ownOf reports whether one of schemas has a function of this name that is not in Config.LaneFunctions.
func (f *Facts) ownOf(name string, schemas []string) bool {
	return slices.ContainsFunc(schemas, func(s string) bool { return !f.Allowed(sqltext.Function{Schema: s, Name: name}) })
}

// refutedLocked returns why a statement of known names may run code of the user's own, or "" if it certainly does not.
func (f *Facts) refutedLocked(m *sqltext.Mentions, types []uint32) string {
	if f.global.builtin {
		return "built-in type"
	}
	for _, name := range m.Called {
		if k := f.functions[name]; f.ownOf(name, k.own) || k.sets {
			return "function"
		}
	}
	for _, name := range m.Dotted {
		if k := f.functions[name]; f.ownOf(name, k.ownOne) || k.builtinOne && !sqltext.Harmless(name) {
			return "attribute"
		}
	}
	for _, o := range f.global.operators {
		if m.HasOperator(o.name) && !f.Allowed(o.does) && !o.does.Harmless() {
			return "operator"
		}
	}
	for _, r := range f.reachedLocked(m, types) {
		switch why := f.strangeLocked(r); {
		case why != "":
			return why
		case len(r.runs) > 0:
			return "trigger"
		case slices.ContainsFunc(r.own, func(c sqltext.Function) bool { return !f.Allowed(c) }):
			return "reached function"
		}
	}
	return ""
}

// strangeLocked returns why it is not known which code of the user's own runs when r is reached, or "" if that is known.
func (f *Facts) strangeLocked(r *extent) string {
	switch {
	case r.bad != "":
		return r.bad
	case slices.ContainsFunc(r.types, func(t uint32) bool { return f.global.types[t] }):
		return "type"
	case slices.ContainsFunc(r.uses, func(t uint32) bool { return f.global.families[t] }):
		return "operator class"
	}
	return ""
}

const (
	maxBodies = 64   // a statement that leads to more bodies may leave anything
	maxLed    = 4000 // a statement that leads to more names may leave anything
	maxAsked  = 200  // if a question has so many names, no other statement's names are added
)

// led is what a statement leads to, including through code of the user's own.
type led struct {
	mentions sqltext.Mentions
	calls    []sqltext.Function
	trace    sqltext.Trace // what the bodies leave; AnyTrace if that is not known of all bodies
	plans    bool          // a body may run other functions while it has changed a setting on which the meaning of texts depends
}

// anything notes that it is not known what code runs, so it may leave anything.
func (l *led) anything() { l.trace, l.plans = max(l.trace, sqltext.AnyTrace), true }

// ledLocked follows m, functions and types into the bodies of all functions that they may call.
func (f *Facts) ledLocked(m *sqltext.Mentions, functions []sqltext.Function, types []uint32) (l led) {
	l = led{mentions: m.And(&sqltext.Mentions{}), calls: slices.Clone(functions)}
	if f.global.builtin {
		l.anything()
	}
	type run struct {
		name  string
		fired bool // a trigger calls the function; then LaneFunctions, which is about calls in statements, does not count
	}
	var schemas []string
	seen, bodies := map[run]bool{}, 0
	for more := true; more; {
		more = false
		at := l.mentions.In(schemas)
		reached := f.reachedLocked(&at, types)
		for name, fired := range f.mayRunLocked(&at, reached) {
			k := f.functions[name]
			if seen[run{name, fired}] {
				continue
			}
			seen[run{name, fired}], more = true, true
			l.mentions.Called = append(l.mentions.Called, name) // so that missingLocked asks about it
			if k == nil || !fired && !k.sets && len(k.own) > 0 && !f.ownOf(name, k.own) {
				continue
			}
			if k.sets {
				l.anything()
			}
			for _, b := range slices.Concat(k.bodies, k.owned) {
				l.trace, l.plans = max(l.trace, b.Trace), l.plans || b.Dynamic
				l.mentions = l.mentions.And(&b.Mentions)
				l.calls = append(l.calls, b.Functions...)
				schemas = addNew(schemas, b.schemas...)
				bodies++
			}
		}
		for _, r := range reached {
			if f.strangeLocked(r) != "" {
				l.anything()
			}
			n := len(schemas)
			schemas = addNew(schemas, r.as...)
			more = more || len(schemas) > n
		}
		if bodies > maxBodies || len(l.mentions.Names)+len(l.mentions.Called) > maxLed {
			l.anything()
			break
		}
	}
	l.mentions = l.mentions.In(schemas)
	l.addCalls(f.reachedLocked(&l.mentions, types), f.functions)
	return l
}

// mayRunLocked returns the names of the functions that may run for a statement that mentions m and reaches reached: true if triggers call them.
func (f *Facts) mayRunLocked(m *sqltext.Mentions, reached []*extent) map[string]bool {
	names := map[string]bool{}
	for _, name := range slices.Concat(m.Called, m.Dotted) {
		names[name] = false
	}
	for _, o := range f.global.operators {
		if m.HasOperator(o.name) {
			names[o.does.Name] = false
		}
	}
	for _, r := range reached {
		for _, c := range slices.Concat(r.own, r.call) {
			names[c.Name] = false
		}
	}
	for _, r := range reached {
		for _, name := range r.runs {
			names[name] = true
		}
	}
	return names
}

// addCalls adds the calls in expressions and triggers, and the built-in functions that a text may call in another form than name(…), such as t.name.
func (l *led) addCalls(reached []*extent, known map[string]*functionFact) {
	for _, r := range reached {
		l.calls = append(l.calls, r.call...)
		for _, name := range r.runs {
			l.calls = append(l.calls, sqltext.Function{Name: name})
		}
	}
	named := map[string]bool{}
	for _, c := range l.calls {
		named[c.Name] = true
	}
	for _, name := range slices.Concat(l.mentions.Called, l.mentions.Dotted) {
		if k := known[name]; k != nil && k.builtin && !named[name] {
			l.calls = append(l.calls, sqltext.Function{Name: name})
		}
	}
}
