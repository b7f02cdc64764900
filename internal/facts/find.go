package facts

import (
	"context"
	"slices"
	"time"
)

// find finds out what w asks for.
func (f *Facts) find(ctx context.Context, ask Ask, w wanted) (*known, error) {
	k := &known{asked: time.Now(), functions: map[string]*functionFact{}, names: map[nameKey]*nameFact{}, nodes: map[node]*nodeFact{}}
	if w.global {
		if err := k.resolveGlobal(ctx, ask); err != nil {
			return nil, err
		}
	}
	if err := k.resolveFunctions(ctx, ask, w.functions); err != nil {
		return nil, err
	}
	for _, f := range k.functions {
		w.types = append(w.types, f.types...)
	}
	if err := k.resolveNodes(ctx, ask, w.names, w.types); err != nil {
		return nil, err
	}
	var more []string // that expressions call, and which may be an extension's
	for _, n := range k.nodes {
		for _, call := range n.call {
			if !call.Harmless() && k.functions[call.Name] == nil && !f.knows(call.Name) {
				more = append(more, call.Name)
			}
		}
	}
	slices.Sort(more)
	return k, k.resolveFunctions(ctx, ask, slices.Compact(more))
}
