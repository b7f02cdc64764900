package isolation

import (
	"cmp"
	"slices"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// residue is what one lease, or all leases since the session was clean, have left, and what has to be asked about that. The zero value means nothing.
type residue struct {
	parsed   []string             // texts that pgx must not keep
	drew     drawers              // the texts that have drawn values of sequences
	unsure   []*catalog.Statement // the statements with names about which the server has to be asked
	unsteady []*catalog.Statement // the statements that may or may not draw from the same sequences each time
	trace    sqltext.Trace
	certain  sqltext.Trace // what a text alone says that was left, SessionTrace or PreparedTrace; trace is more if something is not known
	lost     bool          // pgx must also drop texts that are not in parsed and that nobody knows
	plans    bool          // the server may have made a plan with another meaning than in a clean session
	named    bool          // the user may have prepared statements under names
	odd      bool          // the server reports other settings, and no statement is known to have changed any
	moved    bool          // a setting has changed, so the same text may mean other sequences
	urgent   bool          // the statements in unsure have to be looked at before the next user comes
}

// maxUnsure is how many statements of one lease are looked at after it. Each look takes time in which the connection serves nobody.
const maxUnsure = 4

// maxPutOff is how many statements of one connection wait for their looks. Others are noted again when they run again.
const maxPutOff = 16

// add notes what a statement leaves. addPlans also notes that it may leave plans with another meaning. addNamed also notes named prepared statements.
func (r *residue) add(t sqltext.Trace)      { r.trace = max(r.trace, t) }
func (r *residue) addPlans(t sqltext.Trace) { r.trace, r.plans = max(r.trace, t), true }
func (r *residue) addNamed(t sqltext.Trace) { r.trace, r.named = max(r.trace, t), true }

// addCertain notes what a text alone says that it leaves.
func (r *residue) addCertain(t sqltext.Trace) {
	if t == sqltext.SessionTrace || t == sqltext.PreparedTrace {
		r.certain = max(r.certain, t)
	}
}

// why returns why the session is reset: what was certainly left, or else trace, which may have been left.
func (r *residue) why(trace sqltext.Trace) sqltext.Trace { return cmp.Or(r.certain, trace) }

// addParsed notes texts that pgx must not keep. If lost is true, there are more of them that nobody knows.
func (r *residue) addParsed(texts []string, lost bool) {
	r.parsed, r.lost = append(r.parsed, texts...), r.lost || lost
}

// move notes that a setting has changed. draw notes that the text by has drawn values of sequences.
func (r *residue) move()          { r.moved = true }
func (r *residue) draw(by string) { r.drew.add(by) }

// look notes that st, of which it is not known what it leaves, has to be looked at after the lease, unless maxUnsure statements are noted already. A
// function that st names may leave what no reset takes away, so the look is urgent then.
func (r *residue) look(st *catalog.Statement) {
	if len(r.unsure) < maxUnsure {
		r.ask(st)
		r.urgent = r.urgent || slices.ContainsFunc(st.Functions, func(f sqltext.Function) bool { return f.Trace() >= sqltext.AnyTrace })
	}
}

// ask notes that these statements have to be looked at some time after the lease. insist notes that they have to be looked at before the next user.
func (r *residue) ask(st ...*catalog.Statement) { r.unsure = addNew(r.unsure, st...) }

func (r *residue) insist(st ...*catalog.Statement) { r.ask(st...); r.urgent = r.urgent || len(st) > 0 }

// looked removes the first of the statements that have to be looked at. rest returns what is left for later when the session is clean.
func (r *residue) looked() { r.unsure = r.unsure[1:] }

func (r *residue) rest() residue {
	return residue{unsure: r.unsure[:min(len(r.unsure), maxPutOff)]}
}

// addNew appends to have the statements of more that it does not have yet.
func addNew(have []*catalog.Statement, more ...*catalog.Statement) []*catalog.Statement {
	for _, st := range more {
		if !slices.Contains(have, st) {
			have = append(have, st)
		}
	}
	return have
}

// addUnsteady notes that the server has to be asked whether st draws from the same sequences each time.
func (r *residue) addUnsteady(st *catalog.Statement) {
	if !slices.Contains(r.unsteady, st) {
		r.unsteady = append(r.unsteady, st)
	}
}

// merge adds what one user has left. If forgive is true, the session is never reset, so what only a reset would need is not added.
func (r *residue) merge(user *residue, forgive bool) {
	r.ask(user.unsure...)
	r.urgent = r.urgent || user.urgent
	r.unsteady = user.unsteady
	r.addParsed(user.parsed, user.lost)
	if !forgive {
		r.trace, r.certain, r.named, r.plans = max(r.trace, user.trace), max(r.certain, user.certain), r.named || user.named, r.plans || user.plans
	}
}

// drop forgets the questions that had to be asked, and returns the statements that were to be looked at.
func (r *residue) drop() (unsure []*catalog.Statement) {
	unsure, r.unsure, r.unsteady = r.unsure, nil, nil
	return unsure
}

// report notes that the server reports other settings than those of a clean session. If no statement is known to have changed one, they are odd.
func (r *residue) report() {
	r.odd = r.trace < sqltext.SessionTrace
	r.addPlans(sqltext.AnyTrace)
}

// due returns what a reset to b has to take away. If there may be prepared statements that the reset cannot drop, due sets r.named.
func (r *residue) due(b *session.Baseline) (trace sqltext.Trace) {
	if r.trace == sqltext.PreparedTrace {
		r.trace = sqltext.AnyTrace
		if len(b.Prepared) > 0 { // the statements that AfterConnect has prepared may be gone or replaced
			r.trace = sqltext.LastingTrace
		}
	}
	if r.trace == sqltext.AnyTrace && !b.Deallocates {
		r.named = true
	}
	if r.named && r.trace == sqltext.AnyTrace {
		return sqltext.SessionTrace // named statements must be dropped through pgx: see session.Baseline.DropNamed
	}
	return r.trace
}

// drawers are the texts that have drawn values of sequences.
type drawers []string

const (
	anybody    = "" // stands for all texts that are not known
	maxForeign = 16 // how many texts are remembered; with more, anybody replaces them
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

// foreign says which texts have drawn a session's foreign values: the values of sequences that earlier users have left.
type foreign struct {
	by    drawers
	aside drawers // what by was before a statement was sent that overwrites all these values if it succeeds
	since uint32  // the number of the call with that statement
}

func (f *foreign) any() bool { return len(f.by) > 0 }

// only reports whether the text by has drawn all foreign values.
func (f *foreign) only(by string) bool { return len(f.by) == 1 && f.by[0] == by }

// add notes that there are foreign values that the texts by have drawn.
func (f *foreign) add(by ...string) { f.by.add(by...) }

// overwrite notes that the call with this number overwrites all foreign values if it succeeds.
func (f *foreign) overwrite(call uint32) { f.by, f.aside, f.since = nil, f.by, call }

// settle is called before a call. If an earlier call was to overwrite all foreign values, that call has succeeded.
func (f *foreign) settle(call uint32) {
	if f.since != call {
		f.aside = nil
	}
}

// fail notes that the call that was to overwrite all values has failed.
func (f *foreign) fail() { f.by, f.aside = append(f.by, f.aside...), nil }
