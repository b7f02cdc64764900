package pool

import (
	"slices"

	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// watching has c write down what is sent from now on.
func (c *conn) watching() {
	c.wire.Watch(c.kept)
}

// watched ends that. What strayed was not seen. Unless each statement is known to leave the meaning of texts alone, what was
// parsed is not for others: it is to be dropped from pgx's caches, and changed is true.
func (c *conn) watched(r *session.Residue, p *pending) (changed bool) {
	w, ok := c.wire.Watched()
	strayed := c.wire.Strayed()
	if !ok {
		return false
	}
	changed = w.Unseen || strayed
	c.watchedNames(w.Names)
	for _, sql := range slices.Concat(w.Parsed, w.Said) {
		st := c.p.lanes.Catalog.Find(sql, "")
		leaves := st.Leaves(c.base)
		trace := leaves.Trace
		if leaves.Ask && c.base != nil {
			p.add(st)
		}
		quiet := c.session == nil || trace <= sqltext.SequenceTrace || !st.IsPlain && trace == sqltext.SessionTrace
		if keeps := st.Meaning == sqltext.KeepsMeaning && quiet || st.Meaning == sqltext.RestoresMeaning; !keeps {
			changed = true
		}
	}
	if !changed {
		c.kept = w.Names
		return false
	}
	r.AddPlans(sqltext.NoTrace)
	r.AddParsed(w.Parsed, w.Lost)
	return true
}
