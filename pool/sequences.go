package pool

import (
	"context"
	"slices"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// The values of sequences that a session has, which currval and lastval tell, and the numbers that nextval has taken
// in advance (CACHE) go together: DISCARD SEQUENCES drops both. What one lease leaves must not be told to the next, and
// the cache must not be thrown away each time. So the connection remembers that there are foreign values, and drops them
// in front of the first statement that might tell them: one that names currval or lastval, and one of which nobody
// knows what it does. Many services never run one.
//
// Own values must not be dropped. So a lease that may run more statements drops foreign values before it draws its first
// own one, unless that overwrites all of them: then nothing foreign is left to tell.

// foreign are the values of sequences of earlier leases that a session has. The connection's owner's.
type foreign struct {
	by    []string // the texts that have drawn them; anybody for what nobody can tell
	aside []string // what by was before a statement that overwrites all of it, if it succeeds
	since uint32   // the number of that statement's call
}

// anybody stands for values of any sequences.
const anybody = ""

// maxForeign is how many texts are told apart.
const maxForeign = 16

func (f *foreign) any() bool { return len(f.by) > 0 }

// add notes that there are values that by has drawn.
func (f *foreign) add(by ...string) {
	for _, text := range by {
		switch {
		case slices.Contains(f.by, text):
		case len(f.by) == maxForeign:
			f.by = append(f.by[:0:0], anybody)
		default:
			f.by = append(f.by, text)
		}
	}
}

// overwrite notes that a call to come overwrites all values, if it succeeds.
func (f *foreign) overwrite(call uint32) { f.by, f.aside, f.since = nil, f.by, call }

// settled notes, before a call, that the one that overwrote all values has succeeded, if it was another.
func (f *foreign) settled(call uint32) {
	if f.since != call {
		f.aside = nil
	}
}

// failed notes that it has not.
func (f *foreign) failed() {
	f.by, f.aside = append(f.by, f.aside...), nil
}

// heedSequences notes what a statement does with the values of sequences, before it is sent. st is nil if nobody
// knows the statement, and then it leaves AnyTrace.
func (l *Lease) heedSequences(leaves catalog.Leaves, st *catalog.Statement) {
	f := &l.c.foreign
	f.settled(l.calls)
	if st != nil && st.Aside { // DISCARD would take a snapshot, which may be too early
		l.residue.moved, l.goesOn = l.residue.moved || st.Sequences.Moves, l.goesOn || st.Sequences.Begins
		return
	}
	unknown := leaves.Trace >= sqltext.AnyTrace
	if unknown || leaves.Tells {
		l.c.hideForeign()
	}
	if st != nil {
		l.residue.moved = l.residue.moved || st.Sequences.Moves
		l.goesOn = l.goesOn || st.Sequences.Begins
	}
	if !unknown && (leaves.Trace < sqltext.SequenceTrace || !leaves.Draws) {
		return
	}
	by := anybody
	if leaves.Trace == sqltext.SequenceTrace && st.Sequences.Steady && !leaves.Other && !l.residue.moved && l.residue.trace < sqltext.AnyTrace {
		by = st.SQL
	}
	switch {
	case !f.any() || l.single():
	case by != anybody && l.c.pg.PgConn().TxStatus() == 'T' && len(f.by) == 1 && f.by[0] == by && l.steady(st):
		f.overwrite(l.calls)
	default:
		l.c.hideForeign()
	}
	l.residue.drew.add(by)
}

// single reports whether l ends with what it sends next.
func (l *Lease) single() bool { return !l.goesOn && l.what != "lease" && l.what != "transaction" }

// hideForeign has foreign values dropped in front of the next flight, if the session is ours. In a transaction that has
// failed none is told.
func (c *conn) hideForeign() {
	if pc := c.pg.PgConn(); !c.foreign.any() || !c.own() || pc.IsClosed() || pc.TxStatus() == 'E' {
		return
	}
	c.wire.QueueFirst(pgwire.Query("discard sequences"))
	c.foreign = foreign{}
}

// steady reports whether st draws from the same sequences each time, as far as is known. If nobody has asked, it is asked
// after the lease.
func (l *Lease) steady(st *catalog.Statement) bool {
	steady, known := st.IsSteady(l.c.base)
	if !known && !slices.Contains(l.residue.unsteady, st) {
		l.residue.unsteady = append(l.residue.unsteady, st)
	}
	return steady
}

// findSteady asks for st, in a clean session.
func (c *conn) findSteady(st *catalog.Statement) {
	if c.base == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	st.FindSteady(ctx, c.pg.PgConn(), c.base)
}
