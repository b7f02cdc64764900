package pool_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// The books of a storm: what each caller asked for and was told, what was seen on
// the wire, and, when the storm is over, what the server has of it.

// fate is what a caller was told of his statement.
type fate uint8

const (
	fateUnknown fate = iota // its connection or its time was lost under it
	fateDone                // acknowledged
	fateRefused             // by an error of the server's
	fateUnsent              // it got no connection
)

func (f fate) String() string { return [...]string{"unknown", "done", "refused", "unsent"}[f] }

// entry is one statement, or one transaction or batch, which happens or does not.
// Everything it sends carries its token.
type entry struct {
	kind  *kind
	id    int
	token string

	// written by its caller, read when he is done
	fate    fate
	err     error
	known   bool // by OutcomeUnknown: it has happened, or it has not
	effects int  // how many rows of its own it was to leave

	mu      sync.Mutex
	spare   int  // how often it went out behind a Query of the pool's own: if that failed it has not run, and goes out again
	sent    int  // how often it went out on the wire, to be executed
	rides   int  // on lanes, among them
	begun   bool // its call
	over    bool // returned, so that nothing of it may be sent any more
	late    bool // its call began after the end of its invocation: it must not be sent at all
	waiting bool // it had not been sent when its invocation had ended
	missed  bool // and was sent all the same
	gone    bool // it was sent when its caller had gone
}

const tokenMark = "tok"

func token(id int) string { return fmt.Sprintf(tokenMark+"%08d", id) }

// tokens calls f with the number of each token in b.
func tokens(b []byte, f func(id int)) {
	for {
		i := bytes.Index(b, []byte(tokenMark))
		if i < 0 || len(b) < i+len(tokenMark)+8 {
			return
		}
		b = b[i+len(tokenMark):]
		if id, err := strconv.Atoi(string(b[:8])); err == nil {
			f(id)
		}
	}
}

// books has an entry for each statement, and what was found to be wrong.
type books struct {
	entries []entry // by id; from 1 on
	next    atomic.Int64
	guards  atomic.Int64 // how often a session guard was set

	mu    sync.Mutex
	wrong map[string][]string // by kind of violation
}

func newBooks(statements int) *books {
	return &books{entries: make([]entry, statements+1), wrong: make(map[string][]string)}
}

// open makes the next entry, or returns nil if the books are full.
func (b *books) open(k *kind, late bool) *entry {
	id := int(b.next.Add(1))
	if id >= len(b.entries) {
		return nil
	}
	e := &b.entries[id]
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kind, e.id, e.token, e.late, e.begun = k, id, token(id), late, true
	return e
}

func (b *books) opened() []*entry {
	var all []*entry
	for i := range b.entries {
		if e := &b.entries[i]; e.begun {
			all = append(all, e)
		}
	}
	return all
}

// violation notes that what happened must not happen.
func (b *books) violation(what, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong[what] = append(b.wrong[what], fmt.Sprintf(format, args...))
}

func (b *books) violations() (what []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.wrong))
}

// report writes the first few of each kind of violation.
func (b *books) report(write func(format string, args ...any)) {
	for _, what := range b.violations() {
		all := b.wrong[what]
		write("%s: %d times\n\t%s", what, len(all), strings.Join(all[:min(len(all), 4)], "\n\t"))
	}
}

// spares is told what is about to be written behind a Query of the pool's own.
func (b *books) spares(id int) {
	if id >= 1 && id < len(b.entries) {
		e := &b.entries[id]
		e.mu.Lock()
		e.spare++
		e.mu.Unlock()
	}
}

// sends is told what is about to be written.
func (b *books) sends(id int, onLane bool) {
	if id < 1 || id >= len(b.entries) {
		return
	}
	e := &b.entries[id]
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sent++
	if onLane {
		e.rides++
	}
	e.missed = e.missed || e.waiting
	e.gone = e.gone || e.over
	most := 1 + e.spare // a read that may ride runs once more if it has to
	if e.kind.mayRide {
		most++
	}
	if e.kind.stale {
		most++ // refused before its BindComplete it is sent once more
	}
	switch {
	case e.late:
		b.violation("sent, though its invocation had ended before it was called", "%s %s", e.kind.name, e.token)
	case onLane && !e.kind.mayRide:
		b.violation("rode", "%s %s", e.kind.name, e.token)
	case e.over && !onLane:
		b.violation("sent after its call had returned", "%s %s", e.kind.name, e.token)
	}
	if e.sent > most && !e.kind.parts {
		b.violation("sent too often", "%s %s: %d times, rode %v", e.kind.name, e.token, e.sent, e.rides > 0)
	}
}

// unsent is told what could not be written.
func (b *books) unsent(all []written) {
	for _, w := range all {
		if w.id >= 1 && w.id < len(b.entries) {
			e := &b.entries[w.id]
			e.mu.Lock()
			e.sent--
			if w.onLane {
				e.rides--
			}
			e.mu.Unlock()
		}
	}
}

// close notes that the call has returned.
func (e *entry) close(f fate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fate, e.over = f, true
}

// abandoned notes that the invocation has ended.
func (e *entry) abandoned() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = e.sent == 0 && !e.over
}

// audit compares what callers were told with what has happened: applied has, by
// token, how many rows the server has.
func (b *books) audit(applied map[string]int) {
	for _, e := range b.opened() {
		n := applied[e.token]
		delete(applied, e.token)
		// Whoever declares that a function leaves nothing has it run once more when its connection was lost.
		lie := e.kind.guarded && e.effects < n && n <= e.sent
		switch {
		case e.fate == fateDone && n != e.effects && !lie:
			b.violation("acknowledged, but not exactly once", "%s %s: %d of %d", e.kind.name, e.token, n, e.effects)
		case e.fate == fateRefused && n != 0 && !e.kind.autonomous:
			b.violation("refused, but applied", "%s %s: %d", e.kind.name, e.token, n)
		case e.fate == fateUnsent && n != 0:
			b.violation("no connection, but applied", "%s %s: %d", e.kind.name, e.token, n)
		case e.fate == fateUnknown && n != 0 && n != e.effects:
			b.violation("unknown, and applied in part or more than once", "%s %s: %d of %d", e.kind.name, e.token, n, e.effects)
		}
		if e.fate == fateUnknown && e.known && n != 0 && !e.kind.autonomous {
			b.violation("applied, though OutcomeUnknown is false", "%s %s: %d, %v", e.kind.name, e.token, n, e.err)
		}
		if e.fate == fateDone && e.kind.guarded && e.rides > 0 && e.sent == 1 {
			b.violation("not stopped by the guard", "%s %s", e.kind.name, e.token)
		}
		// What runs once more may wait for a connection in vain.
		if e.fate == fateUnsent && e.sent > e.spare && !e.kind.mayRide {
			b.violation("no connection, but sent", "%s %s", e.kind.name, e.token)
		}
	}
	for of, n := range applied {
		b.violation("nobody asked for it", "%s: %d", of, n)
	}
}

// wire is a connection of the pool, whose outgoing messages are read along.
type wire struct {
	*net.TCPConn
	b       *books
	guard   string // the name of the statement that sets a session guard
	reset   bool   // the packet begins with a reset, or another Query of the pool's own
	explain bool   // what was Parsed last without a name is an EXPLAIN: it runs nothing
	writing []written
}

// written is an entry in what is being written.
type written struct {
	id     int
	onLane bool
}

func (w *wire) Write(p []byte) (int, error) {
	w.writing = w.writing[:0]
	w.read(p)
	n, err := w.TCPConn.Write(p)
	if n == 0 && err != nil {
		w.b.unsent(w.writing)
	}
	return n, err
}

func (w *wire) read(p []byte) {
	// What begins with a Query and goes on has something of the pool's own in front. If that fails, what is behind it has not run.
	w.reset = p[0] == 'Q' && len(p) > 5 && 1+int(binary.BigEndian.Uint32(p[1:])) < len(p)
	for len(p) > 5 && p[0] != 0 { // the first message has no type, and no token
		size := 1 + int(binary.BigEndian.Uint32(p[1:]))
		if size < 5 || size > len(p) {
			panic("storm: a message in two parts")
		}
		w.message(p[0], p[5:size])
		p = p[size:]
	}
}

// lanePrefix is how names of lanes' prepared statements begin.
const lanePrefix = "lmipool_"

func (w *wire) message(kind byte, p []byte) {
	switch kind {
	case 'Q':
		seen := 0 // one entry may name its token twice
		tokens(p, func(id int) {
			if id != seen {
				if w.reset {
					w.b.spares(id)
				}
				w.writing = append(w.writing, written{id, false})
				w.b.sends(id, false)
			}
			seen = id
		})
	case 'P':
		name, rest, _ := bytes.Cut(p, []byte{0})
		switch {
		case len(name) == 0:
			w.explain = bytes.HasPrefix(rest, []byte("explain"))
		case bytes.HasPrefix(name, []byte(lanePrefix)) && bytes.Contains(rest, []byte("'default_transaction_read_only', 'on'")):
			w.guard = string(name)
		}
	case 'B':
		_, rest, _ := bytes.Cut(p, []byte{0}) // the portal
		name, rest, _ := bytes.Cut(rest, []byte{0})
		if len(name) == 0 && w.explain {
			return
		}
		if string(name) == w.guard && w.guard != "" {
			w.b.guards.Add(1)
		}
		seen := 0
		tokens(rest, func(id int) {
			if id != seen {
				if w.reset {
					w.b.spares(id)
				}
				onLane := bytes.HasPrefix(name, []byte(lanePrefix))
				w.writing = append(w.writing, written{id, onLane})
				w.b.sends(id, onLane)
			}
			seen = id
		})
	}
}

// A checker of books must itself be able to find what is wrong.
func TestTheBooksOfAStormFindWhatIsWrong(t *testing.T) {
	t.Parallel()
	write := &kind{name: "write"}
	for want, do := range map[string]func(*books, *entry) int{
		"acknowledged, but not exactly once":             func(_ *books, e *entry) int { e.close(fateDone); return 0 },
		"refused, but applied":                           func(_ *books, e *entry) int { e.close(fateRefused); return 1 },
		"no connection, but applied":                     func(_ *books, e *entry) int { e.close(fateUnsent); return 1 },
		"unknown, and applied in part or more than once": func(_ *books, e *entry) int { e.close(fateUnknown); return 2 },
		"sent too often":                                 func(b *books, e *entry) int { b.sends(e.id, false); b.sends(e.id, false); e.close(fateDone); return 1 },
		"rode":                                           func(b *books, e *entry) int { b.sends(e.id, true); e.close(fateDone); return 1 },
		"sent after its call had returned":               func(b *books, e *entry) int { e.close(fateDone); b.sends(e.id, false); return 1 },
		"sent, though its invocation had ended before it was called": func(b *books, e *entry) int { e.late = true; b.sends(e.id, false); e.close(fateDone); return 1 },
		"no connection, but sent":                                    func(b *books, e *entry) int { b.sends(e.id, false); e.close(fateUnsent); return 0 },
	} {
		b := newBooks(1)
		e := b.open(write, false)
		e.effects = 1
		b.audit(map[string]int{e.token: do(b, e)})
		if got := b.violations(); !slices.Equal(got, []string{want}) {
			t.Errorf("want %q, found %q", want, got)
		}
	}
}

// What could not be written on a lane did not ride, and who rode once and is done was not stopped.
func TestTheBooksOfAStormKnowWhatWasNotWritten(t *testing.T) {
	t.Parallel()
	for unwritten, want := range map[bool][]string{true: nil, false: {"not stopped by the guard"}} {
		b := newBooks(1)
		e := b.open(&kind{name: "declared", mayRide: true, guarded: true}, false)
		e.effects = 1
		b.sends(e.id, true)
		if unwritten {
			b.unsent([]written{{e.id, true}})
			b.sends(e.id, false)
		}
		e.close(fateDone)
		b.audit(map[string]int{e.token: 1})
		if got := b.violations(); !slices.Equal(got, want) {
			t.Errorf("unwritten %v: want %q, found %q", unwritten, want, got)
		}
	}
}
