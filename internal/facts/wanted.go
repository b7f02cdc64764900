package facts

import (
	"maps"
	"slices"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// wanted is what is to be asked about.
type wanted struct {
	global    bool
	functions []string
	names     []nameKey
	types     []uint32
}

func (w *wanted) isEmpty() bool {
	return !w.global && len(w.functions) == 0 && len(w.names) == 0 && len(w.types) == 0
}

// add adds what else is wanted, each once.
func (w *wanted) add(more wanted) {
	w.global = w.global || more.global
	w.functions = addNew(w.functions, more.functions...)
	w.names = addNew(w.names, more.names...)
	w.types = addNew(w.types, more.types...)
}

// missingLocked is what is not known of what m mentions, and of types.
func (f *Facts) missingLocked(m *sqltext.Mentions, types []uint32) (w wanted) {
	w.global = f.global == nil
	for _, names := range [][]string{m.Called, m.Dotted} {
		for _, name := range names {
			k := f.functions[name]
			if k == nil {
				w.functions = append(w.functions, name)
				continue
			}
			w.types = f.unknownLocked(w.types, k.types)
		}
	}
	for u, names := range byUse(m) {
		for _, n := range names {
			if f.names[nameKey{n, u}] == nil {
				w.names = append(w.names, nameKey{n, u})
			}
		}
	}
	w.types = f.unknownLocked(w.types, types)
	return w
}

// unknownLocked adds to missing the types that are not known.
func (f *Facts) unknownLocked(missing, types []uint32) []uint32 {
	for _, t := range types {
		if t >= FirstUserOID && f.nodes[node{'t', t}] == nil {
			missing = append(missing, t)
		}
	}
	return missing
}

// all is what is known of some parts, to be asked for once more.
func (f *Facts) all(some parts) (w wanted) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	w.global = some&ofGlobal != 0 && f.global != nil
	if some&ofFunctions != 0 {
		w.functions = slices.Collect(maps.Keys(f.functions))
	}
	if some&ofNames != 0 {
		w.names = slices.Collect(maps.Keys(f.names))
		for n := range f.nodes {
			if n.class == 't' {
				w.types = append(w.types, n.oid)
			}
		}
	}
	return w
}

// knows reports whether something is known of the functions of that name.
func (f *Facts) knows(function string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.functions[function] != nil
}
