package session

import (
	"slices"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// Residue is what the users of a session have left behind in it since it was reset, or what one of them has. It has one
// owner at a time. The zero value is nothing.
type Residue struct {
	parsed []string // texts that pgx must not keep
	drew   drawers  // whose values of sequences there are
	trace  sqltext.Trace
	plans  bool // what the server has planned may have a meaning that is not a clean session's
	lost   bool // there are more than parsed has
	named  bool // statements may have been prepared under names of the user's
	used   bool // something was sent
	odd    bool // the server reports other settings, and nobody is known to have changed any
	moved  bool // a setting has changed, so that the same text may mean other sequences
}

// Trace is what may be left. These are its fields.
func (r *Residue) Trace() sqltext.Trace { return r.trace }
func (r *Residue) Plans() bool          { return r.plans }
func (r *Residue) Named() bool          { return r.named }
func (r *Residue) Used() bool           { return r.used }
func (r *Residue) Odd() bool            { return r.odd }
func (r *Residue) Moved() bool          { return r.moved }
func (r *Residue) Drew() []string       { return r.drew }

// Parsed are texts that pgx must not keep. complete is false if there are more, of which nobody knows.
func (r *Residue) Parsed() (texts []string, complete bool) { return r.parsed, !r.lost }

// Use notes that something is sent.
func (r *Residue) Use() { r.used = true }

// Add notes what a statement leaves.
func (r *Residue) Add(t sqltext.Trace) { r.trace = max(r.trace, t) }

// AddPlans is Add for what may leave plans that have another meaning, too.
func (r *Residue) AddPlans(t sqltext.Trace) { r.trace, r.plans = max(r.trace, t), true }

// AddNamed is Add for what may leave statements prepared under names of the user's, too.
func (r *Residue) AddNamed(t sqltext.Trace) { r.trace, r.named = max(r.trace, t), true }

// AddParsed notes texts that pgx must not keep. lost: there are more.
func (r *Residue) AddParsed(texts []string, lost bool) {
	r.parsed, r.lost = append(r.parsed, texts...), r.lost || lost
}

// Move notes that a setting has changed.
func (r *Residue) Move() { r.moved = true }

// Draw notes that by, a text, has drawn values of sequences.
func (r *Residue) Draw(by string) { r.drew.add(by) }

// Merge adds what one user has left, l. With forgive nothing is reset: then only what concerns pgx counts.
func (r *Residue) Merge(l *Residue, forgive bool) {
	r.AddParsed(l.parsed, l.lost)
	r.used = r.used || l.used
	if !forgive {
		r.trace, r.named, r.plans = max(r.trace, l.trace), r.named || l.named, r.plans || l.plans
	}
}

// Forgive forgets what a reset would take away.
func (r *Residue) Forgive() { r.trace, r.named = sqltext.NoTrace, false }

// Report notes that the server reports other settings than those of a clean session, in a way that nobody could foresee.
func (r *Residue) Report() {
	r.odd = r.trace < sqltext.SessionTrace
	r.AddPlans(sqltext.AnyTrace)
}

// Due is what a reset to b has to take away. What statements it cannot drop, r has under Named then.
func (r *Residue) Due(b *Baseline) (trace sqltext.Trace) {
	if r.trace == sqltext.PreparedTrace {
		r.trace = sqltext.AnyTrace
		if len(b.Prepared) > 0 { // under the name of one there may be another now, or none
			r.trace = sqltext.LastingTrace
		}
	}
	if r.trace == sqltext.AnyTrace && !b.Deallocates {
		r.named = true
	}
	if r.named && r.trace == sqltext.AnyTrace {
		return sqltext.SessionTrace // of statements by name pgx has to hear, too: see DropNamed
	}
	return r.trace
}

// Foreign are the values of sequences of earlier users that a session has. It has one owner at a time.
type Foreign struct {
	by    drawers
	aside []string // what by was before a statement that overwrites all of it, if it succeeds
	since uint32   // the number of that statement's call
}

// drawers are the texts that have drawn values of sequences; Anybody for what nobody can tell.
type drawers []string

func (d *drawers) add(by ...string) {
	for _, text := range by {
		switch {
		case slices.Contains(*d, text):
		case len(*d) == maxForeign:
			*d = drawers{Anybody}
		default:
			*d = append(*d, text)
		}
	}
}

// Anybody stands for values of any sequences.
const Anybody = ""

// maxForeign is how many texts are told apart.
const maxForeign = 16

// Any reports whether there are some.
func (f *Foreign) Any() bool { return len(f.by) > 0 }

// Only reports whether by alone has drawn them.
func (f *Foreign) Only(by string) bool { return len(f.by) == 1 && f.by[0] == by }

// Add notes that there are values that by has drawn.
func (f *Foreign) Add(by ...string) { f.by.add(by...) }

// Overwrite notes that a call to come overwrites all values, if it succeeds.
func (f *Foreign) Overwrite(call uint32) { f.by, f.aside, f.since = nil, f.by, call }

// Settle notes, before a call, that the one that overwrote all values has succeeded, if it was another.
func (f *Foreign) Settle(call uint32) {
	if f.since != call {
		f.aside = nil
	}
}

// Fail notes that it has not.
func (f *Foreign) Fail() { f.by, f.aside = append(f.by, f.aside...), nil }
