package pgwire

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
)

// recorder keeps all bytes that pgx sends from Record to Recorded, and the SQL texts that pgx sends from Watch to Watched. It has a lock because pgx
// may send from a goroutine of its own.
type recorder struct {
	wanted atomic.Bool // is true if all or texts is not nil
	mu     sync.Mutex
	all    []byte   // the bytes since Record; nil if nothing is recorded
	texts  *Watched // the texts since Watch; nil if nothing is watched
}

// Watched is what a user or a hook has sent on the raw connection, where the pool does not see the statements. The pool needs the texts because pgx
// keeps what was parsed in its caches, and the settings may have been others then.
type Watched struct {
	Parsed []string // the texts that were parsed; their statements may be in pgx's caches
	Said   []string // the texts of simple Queries
	Names  []string // the names of prepared statements whose texts are known
	Unseen bool     // is true if a statement was executed whose text is not here
	Lost   bool     // is true if more texts were parsed than are in Parsed
}

// maxWatched bounds the texts of each kind, so that a long use of the raw connection does not keep much memory.
const maxWatched = 64

func (r *recorder) note(b []byte) {
	if !r.wanted.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all != nil {
		r.all = append(r.all, b...)
	}
	if r.texts != nil {
		r.texts.add(b)
	}
}

// swap makes all the slice to which the bytes that are sent are appended, or ends that if all is nil. It returns the old slice.
func (r *recorder) swap(all []byte) (was []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, r.all = r.all, all
	r.wanted.Store(r.all != nil || r.texts != nil)
	return was
}

// Record lets r keep all that pgx sends from now on.
func (r *recorder) Record() { r.swap([]byte{}) }

// PauseRecord interrupts Record until resume is called.
func (r *recorder) PauseRecord() (resume func()) {
	all := r.swap(nil)
	return func() { r.swap(all) }
}

// Recorded ends Record, and returns what was sent. It returns false if there was no Record.
func (r *recorder) Recorded() ([]byte, bool) {
	all := r.swap(nil)
	return all, all != nil
}

// Watch lets r keep the texts that are sent from now on, unless it does so already. names are the names of the statements that are already prepared.
func (r *recorder) Watch(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.texts == nil {
		r.texts = &Watched{Names: slices.Clip(names)}
		r.wanted.Store(true)
	}
}

// Watched ends Watch, and returns the texts that were sent. ok is false if there was no Watch.
func (r *recorder) Watched() (w Watched, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.texts == nil {
		return w, false
	}
	w, r.texts = *r.texts, nil
	r.wanted.Store(r.all != nil)
	return w, true
}

func (w *Watched) add(b []byte) {
	for len(b) > 0 && w.most() <= maxWatched {
		kind, body, rest, whole := Cut(b)
		if !whole {
			w.Unseen = true
			return
		}
		b = rest
		first, behind, _ := bytes.Cut(body, []byte{0})
		second, _, _ := bytes.Cut(behind, []byte{0})
		switch kind {
		case 'P':
			w.Parsed, w.Names = addNew(w.Parsed, string(second)), addNew(w.Names, string(first))
		case 'Q':
			w.Said = addNew(w.Said, string(first))
		case 'B':
			w.Unseen = w.Unseen || !slices.Contains(w.Names, string(second))
		}
		w.Unseen, w.Lost = w.Unseen || w.most() > maxWatched, len(w.Parsed) > maxWatched
	}
}

func (w *Watched) most() int { return max(len(w.Parsed), len(w.Said), len(w.Names)) }

func addNew(have []string, text string) []string {
	if slices.Contains(have, text) {
		return have
	}
	return append(have, text)
}
