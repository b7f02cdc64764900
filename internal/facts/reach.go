package facts

import (
	"slices"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// reachedLocked is what the relations and types that m and types name lead to.
func (f *Facts) reachedLocked(m *sqltext.Mentions, types []uint32) (all []*extent) {
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
func (f *Facts) expandedLocked(m *sqltext.Mentions, types []uint32) (*sqltext.Mentions, []sqltext.Function) {
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
