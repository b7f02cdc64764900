package pgwire

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Prologue is what travels in front of an exchange of pgx's.
type Prologue struct {
	Messages []byte
	// Simple means that Messages is a simple Query: an exchange of its own, which ends with ReadyForQuery, and behind a pooler a transaction
	// of its own, so that the exchange behind it may reach another session. Any other prologue is a part of the exchange that it precedes.
	Simple       bool
	Replies      int  // how many CommandCompletes answer Messages, if it is not Simple
	IgnoreErrors bool // an error does not matter, unless it ends the session

	Prepare func() []byte     // returns what prepares the statement that Messages executes; nil: nothing has to be prepared
	Name    string            // that statement's name; "": it is prepared each time
	Unnamed []byte            // sent instead of Messages and Prepare where no prepared statement may stay
	Refused func(error) error // what the caller gets for the server's error; not nil if Prepare is not nil

	begin bool // it is a transaction's BEGIN: if it fails pgx gets the error, Simple or not
}

// Query returns sql as a simple prologue. If it fails, the server must end the session.
func Query(sql string) Prologue {
	b, _ := (&pgproto3.Query{String: sql}).Encode(nil) // fails only for a longer text than any of ours
	return Prologue{Messages: b, Simple: true}
}

// Try is Query for what may fail.
func Try(sql string) Prologue {
	p := Query(sql)
	p.IgnoreErrors = true
	return p
}

// ErrSimple is what pgx gets when it sends a simple Query that a part was to precede: the Query would run even if the part failed.
var ErrSimple = pgerr.Say[pgerr.ExecModeError]("lmipool: the simple protocol cannot be used here")

// queue is what goes in front of pgx's next exchange, and which prologues the server has prepared.
type queue struct {
	queued   []Prologue        // simple ones, and a BEGIN that is held back
	every    *Prologue         // a part that goes in front of every exchange that prepares or executes; nil: none
	prepared map[string]bool   // the names of prologues that the server has prepared
	declined func(error) error // Refused of a prologue that the server has refused; nil: it has refused none
}

// Queue lets p, a simple prologue, travel in front of the next exchange, behind what is queued already. pgx must not be waiting for an answer,
// since p's answers come first.
func (q *queue) Queue(p Prologue) { q.queued = append(q.queued, p) }

// QueueFirst is Queue in front of a BEGIN that is held back.
func (q *queue) QueueFirst(p Prologue) {
	q.queued = slices.Insert(slices.Clip(q.queued), q.simple(), p)
}

// Queued reports whether something is to go in front of the next exchange.
func (q *queue) Queued() bool { return len(q.queued) > 0 }

// Save returns what is queued, and Restore queues that and nothing else. Nothing may be sent in between.
func (q *queue) Save() []Prologue          { return slices.Clone(q.queued) }
func (q *queue) Restore(queued []Prologue) { q.queued = queued }

// Bind puts p, a part, in front of every exchange from now on; nil: nothing.
func (q *queue) Bind(p *Prologue) { q.every, q.declined = p, nil }

// Declined returns Refused of a prologue that the server has refused since Declined was last called; nil: it has refused none.
func (q *queue) Declined() (told func(error) error) {
	told, q.declined = q.declined, nil
	return told
}

// simple counts the queued prologues that can be sent without pgx's exchange. Behind them is a BEGIN that is held back, and what belongs to its
// transaction.
func (q *queue) simple() (n int) {
	for n < len(q.queued) && !q.queued[n].begin {
		n++
	}
	return n
}

// cut drops what is queued from at on. replace lets the prologue at at be msgs instead, a simple Query.
func (q *queue) cut(at int) { q.queued = q.queued[:at] }

func (q *queue) replace(at int, msgs []byte) { q.queued[at].Messages, q.queued[at].Simple = msgs, true }

// words returns what is to be sent for p. unnamed: the exchange behind it executes the unnamed statement that is there, so p must not replace it.
func (q *queue) words(p *Prologue, unnamed bool) []byte {
	switch {
	case p.Unnamed != nil && !unnamed:
		return p.Unnamed
	case p.Prepare == nil || p.Name != "" && q.prepared[p.Name]:
		return p.Messages
	}
	return append(p.Prepare(), p.Messages...)
}

// understood notes whether the server has executed p. stale means that it has not although p was prepared earlier: then what is behind p has
// not run.
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

// take returns the words of the first n that are queued and, with bound, of what is bound. From now on they count as sent.
func (c *Conn) take(n int, bound, unnamed bool) (all []byte) {
	add := func(p *Prologue) {
		all = append(all, c.words(p, unnamed)...)
		c.replies.sent = append(c.replies.sent, *p)
		if p.begin {
			c.begin.to(beginSent)
		}
	}
	for i := range c.queued[:n] {
		add(&c.queued[i])
	}
	c.queued = c.queued[n:]
	if bound {
		add(c.every)
	}
	c.busy.Store(len(c.replies.sent) > 0)
	return all
}

// Failure returns the error of a simple prologue since it was last called, nil if there was none. What was behind the prologue has not run, or
// it is not known whether it has run as it should.
func (c *Conn) Failure() error {
	if failed := c.replies.failed; failed != nil {
		c.replies.failed = nil
		return pgerr.NotRun("the session could not be reset", failed)
	}
	return c.replies.refused
}

// filter moves what is pgx's in b to its front, and returns how much that is.
func (c *Conn) filter(b []byte) (kept int) {
	r := &c.replies
	if len(r.sent) == 0 && len(r.head) == 0 && c.begin.state != beginFailing { // all is
		return len(b)
	}
	if a := &c.answers; len(r.head) == 0 && r.left == 0 && a.n > 0 { // pgx has the first half of a message, such as a notification
		r.head, r.left, r.pass = append(r.head, a.head[:a.n]...), a.left, true
	}
	for i := 0; i < len(b) && r.refused == nil; {
		if len(r.head) == 0 && r.left == 0 {
			if len(r.sent) == 0 && c.begin.state != beginFailing {
				return kept + copy(b[kept:], b[i:])
			}
			c.beginMessage(b[i])
		}
		if len(r.head) < 5 {
			r.head = append(r.head, b[i])
			if r.pass {
				b[kept] = b[i]
				kept++
			}
			i++
			if len(r.head) < 5 {
				continue
			}
			r.left = int(binary.BigEndian.Uint32(r.head[1:])) - 4
		}
		n := min(r.left, len(b)-i)
		switch {
		case r.pass:
			kept += copy(b[kept:], b[i:i+n])
			if r.head[0] == 'Z' && n == r.left && c.begin.state == beginFailing {
				b[kept-1] = 'E' // the status: see beginFailed
				c.begin.to(beginFailed)
			}
		case r.head[0] == 'E':
			r.body = append(r.body, b[i:i+n]...)
		}
		i += n
		r.left -= n
		if r.left == 0 {
			c.endMessage()
		}
	}
	return kept
}

// beginMessage decides, by its kind, whether pgx gets the message that begins now.
func (c *Conn) beginMessage(kind byte) {
	r := &c.replies
	if len(r.sent) == 0 { // up to the ReadyForQuery of a BEGIN that has failed
		r.pass = true
		return
	}
	switch p := &r.sent[0]; kind {
	case 'S', 'N': // ParameterStatus and notices are pgx's, whatever caused them
		r.pass = true
	case 'A': // notifications that come before a reset is over are for the user before it
		r.pass = !p.Simple
	case 'E': // after that of a part, the exchange fails and there are no more answers to prologues
		r.pass = !p.Simple || p.begin
		if r.pass {
			if p.begin {
				c.begin.to(beginFailing)
			}
			if c.understood(p, false) {
				c.answers.last.Store(lastRefused)
			}
			c.answered()
		}
	default:
		r.pass = false
	}
}

func (c *Conn) endMessage() {
	r := &c.replies
	kind := r.head[0]
	r.head = r.head[:0]
	if r.pass {
		return
	}
	switch p := &r.sent[0]; kind {
	case 'E':
		var e pgproto3.ErrorResponse
		_ = e.Decode(r.body)
		r.body = nil
		if err := pgconn.ErrorResponseToPgError(&e); pgerr.EndsSession(err) {
			r.failed = err
		} else if !p.IgnoreErrors {
			r.refused = pgerr.SentUnanswered(fmt.Errorf("lmipool: the session was not reset: %w", err))
		}
	case 'C':
		if p.Replies--; !p.Simple && p.Replies == 0 {
			c.understood(p, true)
			c.answered()
		}
	case 'Z':
		c.answered()
	}
}

// answered ends the oldest prologue. An error of a part, which pgx gets, ends all of them.
func (c *Conn) answered() {
	r := &c.replies
	if r.sent[0].begin && !r.pass {
		c.begin.to(beginNone)
	}
	r.sent = r.sent[1:]
	if r.pass || len(r.sent) == 0 {
		r.sent = nil
		c.busy.Store(false)
	}
}
