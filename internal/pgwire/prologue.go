package pgwire

import (
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Prologue is what travels in front of an exchange that pgx sends.
type Prologue struct {
	Messages []byte
	// Simple means that Messages is a simple Query, which is an exchange of its own. Behind a pooler it is also a transaction of its own, so
	// the exchange that follows may reach another session. Any other prologue is a part of the exchange that it precedes.
	Simple       bool
	Replies      int  // how many CommandCompletes answer Messages, if it is not Simple
	IgnoreErrors bool // means that an error does not matter, unless it ends the session
	Between      bool // means that a notification that comes before the answer was for the user before, so it is dropped

	Prepare func() []byte     // returns the messages that prepare the statement that Messages executes; nil if nothing has to be prepared
	Name    string            // is the name of that statement; "" if it is prepared each time
	Unnamed []byte            // is sent instead of Messages and Prepare, if it is not nil and would replace no statement that the exchange needs
	Refused func(error) error // turns the server's error into the caller's; it is not nil if Prepare is not nil

	begin bool // says that Messages is a transaction's BEGIN; if BEGIN fails pgx gets the error, even if Simple is true
}

// Query returns sql as a simple prologue. If sql fails, the server must end the session: see the package's invariants.
func Query(sql string) Prologue {
	b, _ := (&pgproto3.Query{String: sql}).Encode(nil) // Encode fails only for a text of more than a gigabyte
	return Prologue{Messages: b, Simple: true}
}

// Try returns sql as a simple prologue whose failure does not matter, unless it ends the session.
func Try(sql string) Prologue {
	p := Query(sql)
	p.IgnoreErrors = true
	return p
}

// ErrSimple is what pgx gets when it sends a simple Query behind a prologue that is not simple: the Query would run even if the prologue failed.
var ErrSimple = pgerr.Say[pgerr.ExecModeError]("lmipool: the simple protocol cannot be used here")

// queue holds the prologues that go in front of pgx's next exchange, and the names of those that the server has prepared.
type queue struct {
	queued   []Prologue        // simple prologues, and a BEGIN that is held back
	every    *Prologue         // goes in front of every exchange that prepares or executes; it is not simple; nil if there is none
	prepared map[string]bool   // has the Name of each prologue that the server has prepared
	declined func(error) error // is Refused of the prologue that the server has refused since the last Declined; nil if there was none
}

// Queue lets p, a simple prologue, travel in front of the next exchange, behind what is queued already. pgx must not wait for an answer: it would get p's.
func (q *queue) Queue(p Prologue) { q.queued = append(q.queued, p) }

// QueueFirst queues p behind other simple prologues, but in front of a BEGIN that is held back.
func (q *queue) QueueFirst(p Prologue) {
	q.queued = slices.Insert(slices.Clip(q.queued), q.simple(), p)
}

// Queued reports whether something is to go in front of the next exchange.
func (q *queue) Queued() bool { return len(q.queued) > 0 }

// Save returns what is queued. Restore puts the queue back to what Save has returned. Nothing may be sent in between.
func (q *queue) Save() []Prologue          { return slices.Clone(q.queued) }
func (q *queue) Restore(queued []Prologue) { q.queued = queued }

// Bind puts p, which is not simple, in front of every exchange from now on. If p is nil, that ends.
func (q *queue) Bind(p *Prologue) { q.every, q.declined = p, nil }

// Declined returns Refused of the prologue that the server has refused since Declined was last called, or nil if there was none.
func (q *queue) Declined() (told func(error) error) {
	told, q.declined = q.declined, nil
	return told
}

// simple counts the queued prologues that can be sent without pgx's exchange. These are those in front of a BEGIN that is held back.
func (q *queue) simple() (n int) {
	for n < len(q.queued) && !q.queued[n].begin {
		n++
	}
	return n
}

// cut keeps the first at queued prologues and drops the others.
func (q *queue) cut(at int) { q.queued = q.queued[:at] }

// replace makes the queued prologue number at a simple one that sends msgs.
func (q *queue) replace(at int, msgs []byte) { q.queued[at].Messages, q.queued[at].Simple = msgs, true }

// words returns the bytes to send for p. If unnamed is true, pgx's exchange executes the unnamed statement, which p.Unnamed would replace.
func (q *queue) words(p *Prologue, unnamed bool) []byte {
	switch {
	case p.Unnamed != nil && !unnamed:
		return p.Unnamed
	case p.Prepare == nil || p.Name != "" && q.prepared[p.Name]:
		return p.Messages
	}
	return append(p.Prepare(), p.Messages...)
}

// understood notes whether the server has executed p: ok. It returns stale if the server has refused p, which was prepared earlier.
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

// pop takes the first n prologues out of q.
func (q *queue) pop(n int) (first []Prologue) {
	first, q.queued = q.queued[:n], q.queued[n:]
	return first
}
