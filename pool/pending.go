package pool

import (
	"slices"

	"github.com/lmipool/lmipool/internal/catalog"
)

// pending are statements that something is to be asked about once their user has gone. It has one owner at a time.
type pending struct {
	unsure   []*catalog.Statement // whose names are not known yet
	unsteady []*catalog.Statement // of which it is not known yet whether they draw from the same sequences each time
}

// maxUnsure is how many statements of one lease are looked at after it.
const maxUnsure = 4

// add has st looked at, if there is room.
func (p *pending) add(st *catalog.Statement) {
	if len(p.unsure) < maxUnsure {
		p.unsure = append(p.unsure, st)
	}
}

// insist has these looked at, whether there is room or not.
func (p *pending) insist(st ...*catalog.Statement) { p.unsure = append(p.unsure, st...) }

// addUnsteady has it asked whether st draws from the same sequences each time.
func (p *pending) addUnsteady(st *catalog.Statement) {
	if !slices.Contains(p.unsteady, st) {
		p.unsteady = append(p.unsteady, st)
	}
}

// merge adds what one user has left to be asked.
func (p *pending) merge(l *pending) {
	p.insist(l.unsure...)
	p.unsteady = l.unsteady
}

// isEmpty reports whether there is nothing to ask.
func (p *pending) isEmpty() bool { return len(p.unsure) == 0 && len(p.unsteady) == 0 }
