package pool

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// watch is what somebody with the raw connection sends, a user or a hook: the pool does not see his
// statements, and pgx keeps in its caches what he has parsed, under settings that may be his.
type watch struct {
	mu     sync.Mutex
	parsed []string // texts; their statements may be in pgx's caches
	said   []string // texts of simple Queries
	names  []string // of what was prepared
	unseen bool     // something was executed of which the text is not known, or it was too much
}

// maxWatched is how many texts are kept of one lease.
const maxWatched = 64

// note takes in what is sent.
func (w *watch) note(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(b) >= 5 && max(len(w.parsed), len(w.said), len(w.names)) <= maxWatched {
		n := 1 + int(binary.BigEndian.Uint32(b[1:]))
		if n > len(b) {
			w.unseen = true
			return
		}
		kind, body := b[0], b[5:n]
		b = b[n:]
		first, rest, _ := bytes.Cut(body, []byte{0})
		switch kind {
		case 'P':
			text, _, _ := bytes.Cut(rest, []byte{0})
			w.parsed, w.names = addNew(w.parsed, string(text)), addNew(w.names, string(first))
		case 'Q':
			w.said = addNew(w.said, string(first))
		case 'B':
			name, _, _ := bytes.Cut(rest, []byte{0})
			w.unseen = w.unseen || !slices.Contains(w.names, string(name))
		}
		w.unseen = w.unseen || max(len(w.parsed), len(w.said), len(w.names)) > maxWatched
	}
}

// watching has c write down what is sent from now on.
func (c *conn) watching() {
	if c.wire.watch.Load() == nil {
		c.wire.watch.Store(&watch{names: slices.Clip(c.kept)})
	}
}

// watched ends that. What strayed was not seen. Unless each statement is known to leave the meaning of texts alone, what was
// parsed is not for others: it is to be dropped from pgx's caches, and changed is true.
func (c *conn) watched(r *residue) (changed bool) {
	w, strayed := c.wire.watch.Swap(nil), c.strayed()
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	changed = w.unseen || strayed
	c.watchedNames(w.names)
	for _, sql := range slices.Concat(w.parsed, w.said) {
		st := c.p.lanes.catalog.Find(sql, "")
		leaves := st.Leaves(c.base)
		trace := leaves.Trace
		if leaves.Ask && c.base != nil && len(r.unsure) < maxUnsure {
			r.unsure = append(r.unsure, st)
		}
		quiet := c.session == nil || trace <= sqltext.SequenceTrace || !st.IsPlain && trace == sqltext.SessionTrace
		if keeps := st.Meaning == sqltext.KeepsMeaning && quiet || st.Meaning == sqltext.RestoresMeaning; !keeps {
			changed = true
		}
	}
	if !changed {
		c.kept = w.names[:min(len(w.names), maxWatched)]
		return false
	}
	r.plans = true
	if len(w.parsed) > maxWatched {
		r.lost = true // nobody knows what to drop
	}
	r.parsed = append(r.parsed, w.parsed...)
	return true
}

// addNew adds what is not there yet.
func addNew(have []string, text string) []string {
	if slices.Contains(have, text) {
		return have
	}
	return append(have, text)
}
