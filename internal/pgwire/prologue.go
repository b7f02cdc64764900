package pgwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Prologue is what travels in front of a flight of pgx's.
type Prologue struct {
	Messages []byte
	// Simple: it is a simple Query, a flight of its own that ends with ReadyForQuery, and to a
	// pooler a transaction of its own: the flight behind it may meet another session. Otherwise
	// it is a part of the flight that it precedes: if it fails, the server skips the rest and
	// pgx gets the error; and it precedes only a flight that executes something.
	Simple  bool
	Replies int // CommandCompletes, if it is not Simple
	// IgnoreErrors: an error of it does not matter, unless it ends the session.
	IgnoreErrors bool

	Prepare func() []byte     // prepares what Messages executes; nil: they need nothing
	Name    string            // under which it stays prepared; "": it is prepared each time
	Unnamed []byte            // instead of both, where nothing is to stay prepared
	Refused func(error) error // what an error of it is to be told as, if it has Prepare; nil: as it is

	// begin: it is a transaction's BEGIN. It precedes any flight, and if it fails pgx gets
	// the error, Simple or not.
	begin bool
}

// Query is sql as a simple prologue. If it fails, the server must end the session.
func Query(sql string) Prologue {
	b, _ := (&pgproto3.Query{String: sql}).Encode(nil) // no text of ours is too long
	return Prologue{Messages: b, Simple: true}
}

// Try is Query for what may fail.
func Try(sql string) Prologue {
	p := Query(sql)
	p.IgnoreErrors = true
	return p
}

// ErrSimple is what pgx gets when it sends a simple Query that a part of a flight was to
// precede: nothing would keep the Query from running without it.
var ErrSimple = errors.New("lmipool: the simple protocol cannot be used here")

// queue is what goes in front of pgx's next flight, and what the server has prepared of that.
type queue struct {
	queued   []Prologue
	every    *Prologue         // a part that goes in front of every flight, as long as it is set
	prepared map[string]bool   // the names of prologues that the server knows
	declined func(error) error // of one that the server has refused; nil: it has refused none
}

// Queue has p travel in front of the next flight, behind what is queued already: the
// simple ones before the parts. pgx must be waiting for nothing, since p's answers come first.
func (q *queue) Queue(p Prologue) { q.queued = append(q.queued, p) }

// QueueFirst is Queue for a simple one, in front of the parts that are queued already and of a BEGIN that is held back.
func (q *queue) QueueFirst(p Prologue) {
	at := slices.IndexFunc(q.queued, func(p Prologue) bool { return !p.Simple || p.begin })
	if at < 0 {
		at = len(q.queued)
	}
	q.queued = slices.Insert(slices.Clip(q.queued), at, p)
}

// Queued reports whether something is to go in front of the next flight.
func (q *queue) Queued() bool { return len(q.queued) > 0 }

// Save is what is queued, for Restore.
func (q *queue) Save() []Prologue { return slices.Clone(q.queued) }

// Restore has what was queued go in front of the next flight, and nothing else. Nothing was sent meanwhile.
func (q *queue) Restore(queued []Prologue) { q.queued = queued }

// Bind has p, or nothing, go in front of every flight from now on.
func (q *queue) Bind(p *Prologue) { q.every, q.declined = p, nil }

// Declined returns what the error of a prologue that the server has refused is to be told as, once; nil: it has refused none.
func (q *queue) Declined() (told func(error) error) {
	told, q.declined = q.declined, nil
	return told
}

func (q *queue) isEmpty() bool { return len(q.queued) == 0 && q.every == nil }

// leading counts those that precede any flight. part: others precede only one that executes something.
func (q *queue) leading() (n int, part bool) {
	part = q.every != nil
	for _, p := range q.queued {
		if p.Simple || p.begin {
			n++
		} else {
			part = true
		}
	}
	return n, part
}

// simple counts those that can go alone.
func (q *queue) simple() (n int) {
	for n < len(q.queued) && q.queued[n].Simple {
		n++
	}
	return n
}

// take takes the first n out of q.
func (q *queue) take(n int) (taken []Prologue) {
	taken, q.queued = q.queued[:n], q.queued[n:]
	return taken
}

// heldAt is where a BEGIN that is held back is in q: behind it is what belongs to its transaction.
func (q *queue) heldAt() int {
	return slices.IndexFunc(q.queued, func(p Prologue) bool { return p.begin })
}

// cut drops those from at on.
func (q *queue) cut(at int) { q.queued = q.queued[:at] }

// replace has what is at at say msgs instead, as a simple Query.
func (q *queue) replace(at int, msgs []byte) { q.queued[at].Messages, q.queued[at].Simple = msgs, true }

// words are p's messages in front of b: as long as nothing of it is prepared, or those that are left.
func (q *queue) words(p *Prologue, b []byte) []byte {
	if p.Unnamed != nil && !needsUnnamed(b) {
		return p.Unnamed
	}
	if p.Prepare == nil || p.Name != "" && q.prepared[p.Name] {
		return p.Messages
	}
	return append(p.Prepare(), p.Messages...)
}

// understood notes whether the server has done what p says. stale: it has not, though it had prepared that earlier, so
// what is behind it has not run.
func (q *queue) understood(p *Prologue, ok bool) (stale bool) {
	if p.Prepare == nil {
		return false
	}
	if !ok {
		if q.declined = p.Refused; q.declined == nil {
			q.declined = func(err error) error { return err }
		}
	}
	if p.Name == "" || ok == q.prepared[p.Name] {
		return false
	}
	if q.prepared == nil {
		q.prepared = make(map[string]bool)
	}
	q.prepared[p.Name] = ok
	return !ok
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
