package pool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// wire stands between pgx and the socket of one connection. What the pool has to say
// to the server itself (a reset, BEGIN, settings of a tenant) travels in front of the
// next thing that pgx says, in the same packet, and the answers to it are taken out of
// what pgx reads. So it costs no round trip, and pgx knows nothing of it.
//
// It belongs to whom the connection belongs to, but for waiting.
type wire struct {
	r io.Reader
	w io.Writer

	armed   []prefix // what goes in front of the next flight
	each    *prefix  // a part that goes in front of every flight, as long as it is set
	sent    []prefix // what was sent, and is not answered yet
	waiting atomic.Bool
	writes  atomic.Int64              // that pgx has made
	heard   atomic.Pointer[recording] // of what is written, while there is one
	watch   atomic.Pointer[watch]     // the same of what is to be understood

	losses   *atomic.Int64         // of the pool; nil: nobody counts them
	seen     atomic.Int64          // how many there were when something was last read
	stuck    atomic.Uint32         // something could not be written
	broke    atomic.Pointer[error] // why nothing can be read any more
	executed atomic.Bool           // since the lease's last call began, something was sent that the server executes
	answers  answers

	tx    beginState
	query []byte // pgx's own Query that begins the transaction, while it is held back
	local []byte // answers to pgx that the server has no part in

	// of the message that is being read
	head   []byte // of what is not passed on: its first five bytes, or fewer
	left   int    // how much of its body is still to come
	pass   bool   // it is pgx's
	body   []byte // of an error that is not passed on
	failed *pgconn.PgError
	// refused: a whole prefix failed and the session did not end with it, which it should
	// have: what was behind it ran all the same. Nothing more is read.
	refused error

	prepared map[string]bool // the names of prefixes that the server knows
	declined bool            // it has refused what one of them says
	of       *settings       // which that was
}

// prefix is what travels in front of a flight.
type prefix struct {
	msgs []byte
	// whole: it is a simple Query, a flight of its own that ends with ReadyForQuery, and to a
	// pooler a transaction of its own: the flight behind it may meet another session. Otherwise
	// it is a part of the flight that it precedes: if it fails, the server skips the rest and
	// pgx gets the error; and it precedes only a flight that executes something.
	whole   bool
	answers int // CommandCompletes, if it is not whole
	// begin: it is a transaction's BEGIN. It precedes any flight, and if it fails pgx gets
	// the error, whole or not.
	begin bool
	// tries: an error of it does not matter, unless it ends the session.
	tries bool

	prepare func() []byte // prepares what msgs executes; nil: they need nothing
	of      *settings     // that it sets; nil: none
	name    string        // under which it stays prepared; "": it is prepared each time
	alone   []byte        // instead of both, where nothing is to stay prepared
}

// words are p's messages in front of b: as long as nothing of it is prepared, or those that are left.
func (w *wire) words(p *prefix, b []byte) []byte {
	if p.alone != nil && !needsUnnamed(b) {
		return p.alone
	}
	if p.prepare == nil || p.name != "" && w.prepared[p.name] {
		return p.msgs
	}
	return append(p.prepare(), p.msgs...)
}

// understood notes whether the server has done what p says.
func (w *wire) understood(p *prefix, ok bool) {
	if p.prepare == nil {
		return
	}
	if !ok {
		w.declined, w.of = true, p.of
	}
	if !ok && p.name != "" && w.prepared[p.name] { // earlier, so what is behind it has not run
		w.answers.last.Store(lastRefused)
	}
	if p.name != "" && ok != w.prepared[p.name] {
		if w.prepared == nil {
			w.prepared = make(map[string]bool)
		}
		w.prepared[p.name] = ok
	}
}

// errSimple is what pgx gets when it sends a simple Query that a part of a flight was to
// precede: nothing would keep the Query from running without it.
var errSimple = errors.New("lmipool: the simple protocol cannot be used here")

// before has p travel in front of the next flight, behind what is armed already: the
// wholes before the parts. pgx must be waiting for nothing, since its answers come first.
func (w *wire) before(p prefix) { w.armed = append(w.armed, p) }

// ahead is before for a whole, in front of the parts that are armed already and of a BEGIN that is held back.
func (w *wire) ahead(p prefix) {
	at := slices.IndexFunc(w.armed, func(p prefix) bool { return !p.whole || p.begin })
	if at < 0 {
		at = len(w.armed)
	}
	w.armed = slices.Insert(slices.Clip(w.armed), at, p)
}

// armedNow is what is armed, for rearm.
func (w *wire) armedNow() []prefix { return slices.Clone(w.armed) }

// rearm has what was armed go in front of the next flight, and nothing else. Nothing was sent meanwhile.
func (w *wire) rearm(armed []prefix) { w.armed = armed }

// isArmed reports whether something is to go in front of the next flight.
func (w *wire) isArmed() bool { return len(w.armed) > 0 }

// bind has p, or nothing, go in front of every flight from now on.
func (w *wire) bind(p *prefix) { w.each, w.declined = p, false }

// flush sends what can go alone, and does not wait for the answer.
func (w *wire) flush() error {
	var all []byte
	n := 0
	for ; n < len(w.armed) && w.armed[n].whole; n++ {
		all = append(all, w.armed[n].msgs...)
	}
	if n == 0 {
		return nil
	}
	_, err := w.write(all, n)
	return err
}

// failure returns the error of a whole prefix, since the last call, that has ended the
// session: what was behind it has not run.
func (w *wire) failure() *pgconn.PgError {
	err := w.failed
	w.failed = nil
	return err
}

// recording is what was sent. pgx may send the last of it from a goroutine of its own.
type recording struct {
	mu sync.Mutex
	b  []byte
}

func (r *recording) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b
}

func (w *wire) Write(b []byte) (int, error) {
	w.writes.Add(1)
	w.answers.asked(b)
	if r := w.heard.Load(); r != nil {
		r.mu.Lock()
		r.b = append(slices.Clip(r.b), b...)
		r.mu.Unlock()
	}
	if watch := w.watch.Load(); watch != nil {
		watch.note(b)
	}
	if w.tx != beginNone {
		switch done, err := w.holdBack(b); {
		case err != nil: // b has not been sent
			return 0, err
		case done:
			return len(b), nil
		}
	}
	if len(w.armed) == 0 && w.each == nil {
		n, err := w.send(b)
		if n > 0 && !w.executed.Load() {
			_, executes, simple := contents(b)
			w.executed.Store(executes || simple)
		}
		return n, err
	}
	n, part := 0, w.each != nil
	for _, p := range w.armed {
		if !p.whole && !p.begin {
			part = true
			continue
		}
		n++
	}
	prepares, executes, simple := contents(b)
	if part && simple {
		return 0, errSimple
	}
	if executes {
		n = len(w.armed)
	}
	var all []byte
	for i := range w.armed[:n] {
		all = append(all, w.words(&w.armed[i], b)...)
	}
	w.take(n)
	if w.each != nil && (prepares || executes) {
		all = append(all, w.words(w.each, b)...)
		w.sent = append(w.sent, *w.each)
	}
	front := len(all)
	all = append(all, b...)
	w.waiting.Store(len(w.sent) > 0)
	written, err := w.send(all)
	if written > front && (executes || simple) {
		w.executed.Store(true)
	}
	return min(max(0, written-front), len(b)), err
}

// write sends b, which the first n armed prefixes are.
func (w *wire) write(b []byte, n int) (int, error) {
	w.take(n)
	w.waiting.Store(len(w.sent) > 0)
	return w.send(b)
}

// take notes that the first n armed prefixes are sent.
func (w *wire) take(n int) {
	for _, p := range w.armed[:n] {
		w.sent = append(w.sent, p)
		if p.begin {
			w.tx = beginSent
		}
	}
	w.armed = w.armed[n:]
}

// syncMessage is the protocol's Sync message.
var syncMessage = []byte{'S', 0, 0, 0, 4}

// contents says whether one of the messages in b is a Parse, an Execute, or a simple Query.
func contents(b []byte) (prepares, executes, simple bool) {
	for len(b) >= 5 {
		prepares = prepares || b[0] == 'P'
		executes = executes || b[0] == 'E'
		simple = simple || b[0] == 'Q'
		n := 1 + int(binary.BigEndian.Uint32(b[1:]))
		if n > len(b) {
			break
		}
		b = b[n:]
	}
	return prepares, executes, simple
}

// needsUnnamed reports whether b executes an unnamed statement that an earlier flight has prepared.
func needsUnnamed(b []byte) bool {
	for len(b) >= 5 && b[0] != 'P' {
		n := 1 + int(binary.BigEndian.Uint32(b[1:]))
		if b[0] == 'B' {
			_, statement, _ := bytes.Cut(b[5:min(max(n, 5), len(b))], []byte{0}) // behind the portal's name
			return len(statement) > 0 && statement[0] == 0
		}
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return false
}

func (w *wire) Read(b []byte) (int, error) {
	if len(w.local) > 0 {
		n := copy(b, w.local)
		w.local = w.local[n:]
		return n, nil
	}
	for {
		if w.refused != nil {
			return 0, w.refused
		}
		n, err := w.r.Read(b)
		if n > 0 && w.losses != nil {
			w.seen.Store(w.losses.Load())
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // after which it can be read on
			why := err
			w.broke.CompareAndSwap(nil, &why)
		}
		if len(w.sent) > 0 || len(w.head) > 0 || w.tx == beginFailing {
			n = w.filter(b[:n])
		}
		w.answers.read(b[:n])
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// filter moves what is pgx's in b to its front, and returns how much that is.
func (w *wire) filter(b []byte) (kept int) {
	if a := &w.answers; len(w.head) == 0 && w.left == 0 && a.n > 0 { // pgx has the first half, of a notification say
		w.head, w.left, w.pass = append(w.head, a.head[:a.n]...), a.left, true
	}
	for i := 0; i < len(b) && w.refused == nil; {
		if len(w.head) == 0 && w.left == 0 {
			if len(w.sent) == 0 && w.tx != beginFailing {
				return kept + copy(b[kept:], b[i:])
			}
			w.begin(b[i])
		}
		if len(w.head) < 5 {
			w.head = append(w.head, b[i])
			if w.pass {
				b[kept] = b[i]
				kept++
			}
			i++
			if len(w.head) < 5 {
				continue
			}
			w.left = int(binary.BigEndian.Uint32(w.head[1:])) - 4
		}
		n := min(w.left, len(b)-i)
		switch {
		case w.pass:
			kept += copy(b[kept:], b[i:i+n])
			if w.tx == beginFailing && w.head[0] == 'Z' && n == w.left {
				b[kept-1] = 'E' // the status: see beginFailed
				w.tx = beginFailed
			}
		case w.head[0] == 'E':
			w.body = append(w.body, b[i:i+n]...)
		}
		i += n
		w.left -= n
		if w.left == 0 {
			w.end()
		}
	}
	return kept
}

// begin decides whose the message is that begins with kind.
func (w *wire) begin(kind byte) {
	if len(w.sent) == 0 { // up to the ReadyForQuery of a BEGIN that has failed
		w.pass = true
		return
	}
	switch p := &w.sent[0]; {
	case kind == 'S', kind == 'N': // ParameterStatus and notices are pgx's, whoever caused them
		w.pass = true
	case kind == 'A': // before a reset is over notifications are for who was there before
		w.pass = !p.whole
	case kind == 'E': // of a part: its flight fails, and has no answers of ours any more
		w.pass = !p.whole || p.begin
		if w.pass {
			if p.begin {
				w.tx = beginFailing
			}
			w.understood(p, false)
			w.answered()
		}
	default:
		w.pass = false
	}
}

// end ends a message.
func (w *wire) end() {
	kind, pass := w.head[0], w.pass
	w.head = w.head[:0]
	if pass {
		return
	}
	switch kind {
	case 'E':
		var e pgproto3.ErrorResponse
		_ = e.Decode(w.body)
		w.body = nil
		if err := pgconn.ErrorResponseToPgError(&e); pgerr.EndsSession(err) {
			w.failed = err
		} else if !w.sent[0].tries {
			w.refused = pgerr.SentUnanswered(fmt.Errorf("lmipool: the session was not reset: %w", err))
		}
	case 'C':
		if p := &w.sent[0]; !p.whole {
			if p.answers--; p.answers == 0 {
				w.understood(p, true)
				w.answered()
			}
		}
	case 'Z':
		w.answered()
	}
}

// answered ends the oldest prefix; with the error of a part, which is passed on, all of them.
func (w *wire) answered() {
	if w.sent[0].begin && !w.pass {
		w.tx = beginNone
	}
	w.sent = w.sent[1:]
	if w.pass || len(w.sent) == 0 {
		w.sent = nil
		w.waiting.Store(false)
	}
}
