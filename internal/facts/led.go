package facts

import (
	"slices"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// maxBodies and maxLed bound what a statement may lead to, in bodies and in names.
const (
	maxBodies = 64
	maxLed    = 4000
)

// led is what a statement leads to, code of the user's own included.
type led struct {
	mentions sqltext.Mentions
	calls    []sqltext.Function
	trace    sqltext.Trace // AnyTrace: there is some of which nobody knows what it leaves
	plans    bool          // some may run other functions while it has set what decides the meaning of a text
}

// anything notes that nobody knows what runs.
func (l *led) anything() { l.trace, l.plans = max(l.trace, sqltext.AnyTrace), true }

// ledLocked follows m, functions and types into the bodies of all functions that they may call.
func (f *Facts) ledLocked(m *sqltext.Mentions, functions []sqltext.Function, types []uint32) (l led) {
	l = led{mentions: m.And(&sqltext.Mentions{}), calls: slices.Clone(functions)}
	if f.global.builtin {
		l.anything()
	}
	type run struct {
		name  string
		fired bool // by a trigger: that the user has vouched for calls of it does not count
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
			l.mentions.Called = append(l.mentions.Called, name) // it has to be known
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
			if n := len(schemas); len(r.as) > 0 {
				schemas = addNew(schemas, r.as...)
				more = more || len(schemas) > n
			}
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

// mayRunLocked are the names of functions that may run for what mentions m and reaches reached. Those that are true are called by
// triggers.
func (f *Facts) mayRunLocked(m *sqltext.Mentions, reached []*extent) map[string]bool {
	names := map[string]bool{}
	for _, called := range [][]string{m.Called, m.Dotted} {
		for _, name := range called {
			names[name] = false
		}
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

// addCalls adds the calls of expressions, and of PostgreSQL's own functions those that the text may call in another way than
// by a parenthesis, or by one that looks like another's.
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
