package pool

import (
	"context"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/session"
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

// heedSequences notes what a statement does with the values of sequences, before it is sent. st is nil if nobody
// knows the statement, and then it leaves AnyTrace.
func (l *Lease) heedSequences(leaves catalog.Leaves, st *catalog.Statement) {
	f := &l.c.foreign
	f.Settle(l.calls)
	if st != nil && st.Aside { // DISCARD would take a snapshot, which may be too early
		l.goes(st)
		return
	}
	unknown := leaves.Trace >= sqltext.AnyTrace
	if unknown || leaves.Tells {
		l.c.hideForeign()
	}
	if st != nil {
		l.goes(st)
	}
	if !unknown && (leaves.Trace < sqltext.SequenceTrace || !leaves.Draws) {
		return
	}
	by := session.Anybody
	if leaves.Trace == sqltext.SequenceTrace && st.Sequences.Steady && !leaves.Other && !l.residue.Moved() && l.residue.Trace() < sqltext.AnyTrace {
		by = st.SQL
	}
	switch {
	case !f.Any() || l.single():
	case by != session.Anybody && l.c.pg.PgConn().TxStatus() == 'T' && f.Only(by) && l.steady(st):
		f.Overwrite(l.calls)
	default:
		l.c.hideForeign()
	}
	l.residue.Draw(by)
}

// goes notes what st does to what follows it.
func (l *Lease) goes(st *catalog.Statement) {
	if st.Sequences.Moves {
		l.residue.Move()
	}
	l.goesOn = l.goesOn || st.Sequences.Begins
}

// single reports whether l ends with what it sends next.
func (l *Lease) single() bool { return !l.goesOn && !l.lasts() }

// hideForeign has foreign values dropped in front of the next flight, if the session is ours. In a transaction that has
// failed none is told.
func (c *conn) hideForeign() {
	if pc := c.pg.PgConn(); !c.foreign.Any() || !c.reach.Own() || pc.IsClosed() || pc.TxStatus() == 'E' {
		return
	}
	c.wire.QueueFirst(pgwire.Query("discard sequences"))
	c.foreign = session.Foreign{}
}

// steady reports whether st draws from the same sequences each time, as far as is known. If nobody has asked, it is asked
// after the lease.
func (l *Lease) steady(st *catalog.Statement) bool {
	steady, known := st.IsSteady(l.c.base)
	if !known {
		l.pending.addUnsteady(st)
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
