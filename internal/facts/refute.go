package facts

import (
	"slices"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// isTheUsers reports whether c is certainly none of PostgreSQL's own functions. What the user's own leave is in their bodies; what
// is nobody's is syntax, or fails.
func (f *Facts) isTheUsers(c sqltext.Function) bool {
	k := f.functions[c.Name]
	return k != nil && !k.builtin
}

// trusted reports whether c is a function of the user's that he has vouched for, or of an extension that says that it is
// not volatile, and no other of its name is anybody else's.
func (f *Facts) trusted(c sqltext.Function) bool {
	if f.Allowed(c) {
		return true
	}
	k := f.functions[c.Name]
	return k != nil && k.extension && !k.builtin && len(k.own) == 0
}

// ownOf reports whether name may mean a function of the user's own in one of schemas, other than those he has vouched for.
func (f *Facts) ownOf(name string, schemas []string) bool {
	return slices.ContainsFunc(schemas, func(s string) bool { return !f.Allowed(sqltext.Function{Schema: s, Name: name}) })
}

// refutedLocked says why a statement of known names may run code of the user's own: "" if it certainly does not.
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
		k := f.functions[name]
		if f.ownOf(name, k.ownOne) || k.builtinOne && !sqltext.Harmless(name) {
			return "attribute"
		}
	}
	for _, o := range f.global.operators {
		if m.HasOperator(o.name) && !f.Allowed(o.does) && !o.does.Harmless() {
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
		if slices.ContainsFunc(r.own, func(c sqltext.Function) bool { return !f.Allowed(c) }) {
			return "reached function"
		}
	}
	return ""
}

// strangeLocked says why nobody knows what of the user's own runs when r is reached: "" if that is known.
func (f *Facts) strangeLocked(r *extent) string {
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
