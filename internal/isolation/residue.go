package isolation

import (
	"slices"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// residue is what users have left in a session since it was clean, or what one of them has, and what has to be found out about that. The zero value
// is nothing.
type residue struct {
	parsed   []string             // texts that pgx must not keep
	drew     drawers              // which texts have drawn values of sequences
	unsure   []*catalog.Statement // whose names are not known yet
	unsteady []*catalog.Statement // of which it is not known whether they draw from the same sequences each time
	trace    sqltext.Trace
	lost     bool // there are more texts than parsed has, which nobody knows
	plans    bool // the server may have planned something with a meaning that it does not have in a clean session
	named    bool // statements may have been prepared under names of the user's
	odd      bool // the server reports other settings, and no statement is known to have changed any
	moved    bool // a setting has changed, so the same text may mean other sequences
}

// maxUnsure is how many statements of one lease are looked at after it.
const maxUnsure = 4

// add notes what a statement leaves; addPlans, that it may also leave plans that have another meaning; addNamed, that it may also leave statements
// prepared under names of the user's.
func (r *residue) add(t sqltext.Trace)      { r.trace = max(r.trace, t) }
func (r *residue) addPlans(t sqltext.Trace) { r.trace, r.plans = max(r.trace, t), true }
func (r *residue) addNamed(t sqltext.Trace) { r.trace, r.named = max(r.trace, t), true }

// addParsed notes texts that pgx must not keep. With lost, there are more than these.
func (r *residue) addParsed(texts []string, lost bool) {
	r.parsed, r.lost = append(r.parsed, texts...), r.lost || lost
}

// move notes that a setting has changed; draw, that by, a text, has drawn values of sequences.
func (r *residue) move()          { r.moved = true }
func (r *residue) draw(by string) { r.drew.add(by) }

// look has st looked at, if there is room.
func (r *residue) look(st *catalog.Statement) {
	if len(r.unsure) < maxUnsure {
		r.insist(st)
	}
}

// insist has these statements looked at, whether there is room or not.
func (r *residue) insist(st ...*catalog.Statement) { r.unsure = append(r.unsure, st...) }

// addUnsteady has the server asked whether st draws from the same sequences each time.
func (r *residue) addUnsteady(st *catalog.Statement) {
	if !slices.Contains(r.unsteady, st) {
		r.unsteady = append(r.unsteady, st)
	}
}

// merge adds what one user has left. With forgive nothing is reset, so only what concerns pgx counts.
func (r *residue) merge(user *residue, forgive bool) {
	r.insist(user.unsure...)
	r.unsteady = user.unsteady
	r.addParsed(user.parsed, user.lost)
	if !forgive {
		r.trace, r.named, r.plans = max(r.trace, user.trace), r.named || user.named, r.plans || user.plans
	}
}

// drop forgets what had to be found out, and returns the statements that were to be looked at.
func (r *residue) drop() (unsure []*catalog.Statement) {
	unsure, r.unsure, r.unsteady = r.unsure, nil, nil
	return unsure
}

// report notes that the server reports other settings than those of a clean session, in a way that nobody could foresee.
func (r *residue) report() {
	r.odd = r.trace < sqltext.SessionTrace
	r.addPlans(sqltext.AnyTrace)
}

// due returns what a reset to b has to take away. If there may be prepared statements that it cannot drop, it sets r.named.
func (r *residue) due(b *session.Baseline) (trace sqltext.Trace) {
	if r.trace == sqltext.PreparedTrace {
		r.trace = sqltext.AnyTrace
		if len(b.Prepared) > 0 { // AfterConnect's own statements may be gone, or others by now
			r.trace = sqltext.LastingTrace
		}
	}
	if r.trace == sqltext.AnyTrace && !b.Deallocates {
		r.named = true
	}
	if r.named && r.trace == sqltext.AnyTrace {
		return sqltext.SessionTrace // pgx has to hear of named statements that are dropped: see session.Baseline.DropNamed
	}
	return r.trace
}

// drawers are the texts that have drawn values of sequences.
type drawers []string

const (
	anybody    = "" // stands for texts that are not known
	maxForeign = 16 // how many texts are told apart
)

func (d *drawers) add(by ...string) {
	for _, text := range by {
		switch {
		case slices.Contains(*d, text):
		case len(*d) == maxForeign:
			*d = drawers{anybody}
		default:
			*d = append(*d, text)
		}
	}
}

// foreign says which texts have drawn the values of sequences that a session has from earlier users.
type foreign struct {
	by    drawers
	aside drawers // what by was before a statement that overwrites all these values, if it succeeds
	since uint32  // the number of that statement's call
}

func (f *foreign) any() bool { return len(f.by) > 0 }

// only reports whether by alone has drawn them.
func (f *foreign) only(by string) bool { return len(f.by) == 1 && f.by[0] == by }

// add notes that there are values that by has drawn.
func (f *foreign) add(by ...string) { f.by.add(by...) }

// overwrite notes that a call overwrites all values, if it succeeds.
func (f *foreign) overwrite(call uint32) { f.by, f.aside, f.since = nil, f.by, call }

// settle notes, before a call, that an earlier one that overwrote all values has succeeded.
func (f *foreign) settle(call uint32) {
	if f.since != call {
		f.aside = nil
	}
}

// fail notes that the call that was to overwrite all values has failed.
func (f *foreign) fail() { f.by, f.aside = append(f.by, f.aside...), nil }
