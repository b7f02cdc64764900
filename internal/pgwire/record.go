package pgwire

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
)

// recorder keeps all bytes that pgx sends from Record to Recorded, and the SQL texts that it sends from Watch to Watched. It has a lock because pgx
// may send from a goroutine of its own.
type recorder struct {
	wanted atomic.Bool // all or texts is not nil
	mu     sync.Mutex
	all    []byte   // nil: nobody wants it
	texts  *Watched // nil: nobody wants them
}

// Watched is what a user or a hook with the raw connection has sent. The pool does not see those statements, and pgx keeps in its caches what
// was parsed, under whatever settings there were then.
type Watched struct {
	Parsed []string // texts; their statements may be in pgx's caches
	Said   []string // texts of simple Queries
	Names  []string // of prepared statements
	Unseen bool     // the texts of some that were executed are not here
	Lost   bool     // more was parsed than is in Parsed
}

// maxWatched is how many texts of a kind are kept.
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

// swap lets what is sent from now on be appended to all, unless all is nil, and returns what was kept until now.
func (r *recorder) swap(all []byte) (was []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, r.all = r.all, all
	r.wanted.Store(r.all != nil || r.texts != nil)
	return was
}

// Record lets r keep all that pgx sends from now on. PauseRecord interrupts that until resume is called.
func (r *recorder) Record() { r.swap([]byte{}) }

func (r *recorder) PauseRecord() (resume func()) {
	all := r.swap(nil)
	return func() { r.swap(all) }
}

// Recorded ends Record, and returns what was sent. It returns false if there was no Record.
func (r *recorder) Recorded() ([]byte, bool) {
	all := r.swap(nil)
	return all, all != nil
}

// Watch lets r keep the texts of what is sent from now on. names are those of statements that are prepared. It does nothing if r does so already.
func (r *recorder) Watch(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.texts == nil {
		r.texts = &Watched{Names: slices.Clip(names)}
		r.wanted.Store(true)
	}
}

// Watched ends Watch, and returns what was sent. ok is false if there was no Watch.
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
