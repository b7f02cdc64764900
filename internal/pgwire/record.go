package pgwire

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
)

// recorder writes down what pgx sends: as it is, or what is to be understood of it. pgx may send the last of it from a goroutine
// of its own.
type recorder struct {
	wanted atomic.Bool // somebody asks for one of these
	mu     sync.Mutex
	all    []byte   // nil: nobody asks for it
	texts  *Watched // nil: nobody asks for them
}

// Watched is what somebody with the raw connection has sent, a user or a hook: the pool does not see his statements, and pgx
// keeps in its caches what he has parsed, under settings that may be his.
type Watched struct {
	Parsed []string // texts; their statements may be in pgx's caches
	Said   []string // texts of simple Queries
	Names  []string // of what was prepared
	Unseen bool     // something was executed of which the text is not known, or it was too much
	Lost   bool     // more was parsed than Parsed has
}

// maxWatched is how many texts are kept.
const maxWatched = 64

// note takes in what is sent.
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

// swap has all, unless it is nil, written down from now on behind what is in it, and returns what was until now.
func (r *recorder) swap(all []byte) (was []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, r.all = r.all, all
	r.wanted.Store(r.all != nil || r.texts != nil)
	return was
}

// Record has r write down all that pgx sends from now on.
func (r *recorder) Record() { r.swap([]byte{}) }

// PauseRecord interrupts that until resume.
func (r *recorder) PauseRecord() (resume func()) {
	all := r.swap(nil)
	return func() { r.swap(all) }
}

// Recorded ends Record, and returns what was sent. It is false if there was no Record.
func (r *recorder) Recorded() ([]byte, bool) {
	all := r.swap(nil)
	return all, all != nil
}

// Watch has r note, as of now, what is sent, unless it does so already. names are of what is prepared.
func (r *recorder) Watch(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.texts == nil {
		r.texts = &Watched{Names: slices.Clip(names)}
		r.wanted.Store(true)
	}
}

// Watched ends Watch, and returns what was sent. It is false if there was no Watch.
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
