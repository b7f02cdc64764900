package pgwire

import (
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Prologue is what travels in front of a flight of pgx's.
type Prologue struct {
	Messages []byte
	// Simple: it is a simple Query, a flight of its own that ends with ReadyForQuery, and to a pooler a transaction of its own: the
	// flight behind it may meet another session. Otherwise it is a part of the flight that it precedes: if it fails, the server
	// skips the rest and pgx gets the error.
	Simple       bool
	Replies      int  // CommandCompletes, if it is not Simple
	IgnoreErrors bool // an error of it does not matter, unless it ends the session

	Prepare func() []byte     // prepares what Messages executes; nil: they need nothing
	Name    string            // under which it stays prepared; "": it is prepared each time
	Unnamed []byte            // instead of both, where nothing is to stay prepared
	Refused func(error) error // what an error of it is to be told as; not nil, if it has Prepare

	begin bool // it is a transaction's BEGIN: if it fails pgx gets the error, Simple or not
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

// ErrSimple is what pgx gets when it sends a simple Query that a part was to precede: the Query would run without it.
var ErrSimple = pgerr.Say[pgerr.ExecModeError]("lmipool: the simple protocol cannot be used here")

// queue is what goes in front of pgx's next flight, and what the server has prepared of that.
type queue struct {
	queued   []Prologue        // simple ones, and a BEGIN that is held back
	every    *Prologue         // a part that goes in front of every flight that prepares or executes, as long as it is set
	prepared map[string]bool   // the names of prologues that the server knows
	declined func(error) error // of one that the server has refused; nil: it has refused none
}

// Queue has p, a simple one, travel in front of the next flight, behind what is queued already. pgx must be waiting for nothing,
// since p's answers come first.
func (q *queue) Queue(p Prologue) { q.queued = append(q.queued, p) }

// QueueFirst is Queue in front of a BEGIN that is held back.
func (q *queue) QueueFirst(p Prologue) {
	q.queued = slices.Insert(slices.Clip(q.queued), q.simple(), p)
}

// Queued reports whether something is to go in front of the next flight.
func (q *queue) Queued() bool { return len(q.queued) > 0 }

// Save is what is queued, for Restore.
func (q *queue) Save() []Prologue { return slices.Clone(q.queued) }

// Restore has what was queued go in front of the next flight, and nothing else. Nothing was sent meanwhile.
func (q *queue) Restore(queued []Prologue) { q.queued = queued }

// Bind has p, a part, or nothing go in front of every flight from now on.
func (q *queue) Bind(p *Prologue) { q.every, q.declined = p, nil }

// Declined returns what the error of a prologue that the server has refused is to be told as, once; nil: it has refused none.
func (q *queue) Declined() (told func(error) error) {
	told, q.declined = q.declined, nil
	return told
}

// simple counts those that can go alone. Behind them is a BEGIN that is held back, and what belongs to its transaction.
func (q *queue) simple() (n int) {
	for n < len(q.queued) && !q.queued[n].begin {
		n++
	}
	return n
}

// drop drops the first n, cut those from at on.
func (q *queue) drop(n int) { q.queued = q.queued[n:] }
func (q *queue) cut(at int) { q.queued = q.queued[:at] }

// replace has what is at at say msgs instead, as a simple Query.
func (q *queue) replace(at int, msgs []byte) { q.queued[at].Messages, q.queued[at].Simple = msgs, true }

// words are p's messages: as long as nothing of it is prepared, or those that are left. unnamed: what is behind it needs the
// unnamed statement that is there.
func (q *queue) words(p *Prologue, unnamed bool) []byte {
	switch {
	case p.Unnamed != nil && !unnamed:
		return p.Unnamed
	case p.Prepare == nil || p.Name != "" && q.prepared[p.Name]:
		return p.Messages
	}
	return append(p.Prepare(), p.Messages...)
}

// understood notes whether the server has done what p says. stale: it has not, though it had prepared that earlier, so what is
// behind it has not run.
func (q *queue) understood(p *Prologue, ok bool) (stale bool) {
	if p.Prepare == nil {
		return false
	}
	if !ok {
		q.declined = p.Refused
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
