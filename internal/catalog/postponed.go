package catalog

import "slices"

// maxPostponed is how many statements wait for a connection on which they can be looked at, atOnce how many one of them gets.
const (
	maxPostponed = 64
	atOnce       = 4
)

// Postpone keeps statements that could not be looked at where they ran, for the next connection that is new.
func (g *Store) Postpone(statements []*Statement) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range statements {
		if len(g.postponed) < maxPostponed && !slices.Contains(g.postponed, s) {
			g.postponed = append(g.postponed, s)
		}
	}
}

// TakePostponed returns some of them.
func (g *Store) TakePostponed() []*Statement {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(atOnce, len(g.postponed))
	taken := slices.Clone(g.postponed[:n])
	g.postponed = g.postponed[n:]
	return taken
}
