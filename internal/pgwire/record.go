package pgwire

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
)

// recorder writes down what pgx sends: as it is, or what is to be understood of it. pgx may send the last of it from a
// goroutine of its own.
type recorder struct {
	all   atomic.Pointer[recording] // nil: nobody asks for it
	texts atomic.Pointer[watch]     // nil: nobody asks for them
}

// note takes in what is sent.
func (r *recorder) note(b []byte) {
	if all := r.all.Load(); all != nil {
		all.add(b)
	}
	if texts := r.texts.Load(); texts != nil {
		texts.add(b)
	}
}

// recording is what was sent.
type recording struct {
	mu sync.Mutex
	b  []byte
}

func (r *recording) add(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b = append(slices.Clip(r.b), b...)
}

// Record has r write down all that pgx sends from now on.
func (r *recorder) Record() { r.all.Store(new(recording)) }

// PauseRecord interrupts that until resume.
func (r *recorder) PauseRecord() (resume func()) {
	all := r.all.Swap(nil)
	return func() { r.all.Store(all) }
}

// Recorded ends Record, and returns what was sent. It is false if there was no Record.
func (r *recorder) Recorded() ([]byte, bool) {
	all := r.all.Swap(nil)
	if all == nil {
		return nil, false
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.b, true
}

// Watched is what somebody with the raw connection has sent, a user or a hook: the pool does not see his
// statements, and pgx keeps in its caches what he has parsed, under settings that may be his.
type Watched struct {
	Parsed []string // texts; their statements may be in pgx's caches
	Said   []string // texts of simple Queries
	Names  []string // of what was prepared
	Unseen bool     // something was executed of which the text is not known, or it was too much
	Lost   bool     // more was parsed than Parsed has
}

// watch is Watched, as long as it goes on.
type watch struct {
	mu sync.Mutex
	w  Watched
}

// maxWatched is how many texts are kept.
const maxWatched = 64

// Watch has r note, as of now, what is sent, unless it does so already. names are of what is prepared.
func (r *recorder) Watch(names []string) {
	if r.texts.Load() == nil {
		r.texts.Store(&watch{w: Watched{Names: slices.Clip(names)}})
	}
}

// Watched ends Watch, and returns what was sent. It is false if there was no Watch.
func (r *recorder) Watched() (w Watched, ok bool) {
	t := r.texts.Swap(nil)
	if t == nil {
		return w, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w, true
}

func (t *watch) add(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := &t.w
	for len(b) >= 5 && w.most() <= maxWatched {
		n := 1 + int(binary.BigEndian.Uint32(b[1:]))
		if n > len(b) {
			w.Unseen = true
			return
		}
		kind, body := b[0], b[5:n]
		b = b[n:]
		first, rest, _ := bytes.Cut(body, []byte{0})
		switch kind {
		case 'P':
			text, _, _ := bytes.Cut(rest, []byte{0})
			w.Parsed, w.Names = addNew(w.Parsed, string(text)), addNew(w.Names, string(first))
		case 'Q':
			w.Said = addNew(w.Said, string(first))
		case 'B':
			name, _, _ := bytes.Cut(rest, []byte{0})
			w.Unseen = w.Unseen || !slices.Contains(w.Names, string(name))
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
