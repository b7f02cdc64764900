package pool

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// note notes what a statement is going to leave behind, and what it does to the meaning of later
// texts, which counts where nothing is reset too. It runs between enter and leave.
func (l *Lease) note(ctx context.Context, sql string, args []any) {
	l.c.given = pgerr.Arguments{Args: args}
	st := l.st
	if st == nil {
		var ok bool
		sql, ok = pgxargs.Text(ctx, sql, args)
		if !ok || !l.with.Custom() || len(sql) > catalog.MaxText {
			l.c.runs(!ok || sqltext.CommitsOnItsWay(sql))
			l.noteAny()
			l.changes(sqltext.MayChangeMeaning, true)
			return
		}
		st = l.p.lanes.Catalog.Find(sql, l.with.Key())
	}
	l.c.runs(st.Commits)
	if text, ok := l.c.meantBy(sql); !ok {
		l.noteAny()
		l.changes(sqltext.KeepsMeaning, true)
		return
	} else if text != sql {
		st = l.p.lanes.Catalog.Find(text, l.with.Key())
	}
	leaves := st.Leaves(l.c.base)
	trace := leaves.Trace
	if l.c.reach.Isolates() {
		if st.Asks && l.meaning != meansSame { // its names may lead to others than those that were judged
			leaves.Trace, leaves.Plans = max(trace, sqltext.AnyTrace), true
		}
		if l.residue.Add(leaves.Trace); leaves.Trace >= sqltext.AnyTrace && leaves.Plans {
			l.residue.AddPlans(leaves.Trace)
		}
		l.heedSequences(leaves, st)
	}
	l.changes(st.Meaning, trace >= sqltext.SessionTrace && (trace > st.Trace || trace >= sqltext.AnyTrace && st.IsPlain))
	if leaves.Ask && l.c.base != nil {
		l.pending.add(st)
	}
}

// noteAny notes what nobody knows.
func (l *Lease) noteAny() {
	if !l.c.reach.Isolates() {
		return
	}
	l.residue.AddPlans(sqltext.AnyTrace)
	l.heedSequences(catalog.Leaves{Trace: sqltext.AnyTrace}, nil)
}

// noteBatch notes what the statements of a batch are going to leave behind.
func (l *Lease) noteBatch(ctx context.Context, b *pgx.Batch) {
	for _, q := range b.QueuedQueries {
		l.note(ctx, q.SQL, q.Arguments)
	}
	l.c.given = pgerr.Arguments{Batch: b.QueuedQueries}
}

// soiled notes on the connection what its user has left behind, and what is to be asked.
func (c *conn) soiled(l *session.Residue, p *pending) {
	c.forgetDescribedNow()
	c.pending.merge(p)
	strayed, forgives := c.wire.Strayed(), !c.reach.Isolates()
	c.residue.Merge(l, forgives)
	if forgives {
		return
	}
	if strayed { // a tracer's, say: nobody knows what it did, nor what was parsed after it
		c.residue.Add(sqltext.LastingTrace)
	}
	if l.Used() && c.differs() {
		c.residue.Report() // whoever did that, in a way that nobody could foresee
	}
	c.foreign.Fail() // of its last statement nobody has said how it went
	c.foreign.Add(l.Drew()...)
	if c.residue.Trace() >= sqltext.AnyTrace {
		c.foreign.Add(session.Anybody)
	}
}
