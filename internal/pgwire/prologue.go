package pgwire

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

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

// words returns what to send for p. With unnamed, the exchange behind p executes the session's unnamed statement, which p then must not replace.
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
	c.busy.Store(c.replies.apart())
	return all
}

// apart reports whether a prologue that is an exchange of its own is not answered yet.
func (r *replies) apart() bool {
	return slices.ContainsFunc(r.sent, func(p Prologue) bool { return p.Simple })
}

// Failure returns the error of a simple prologue that failed, or nil. If the server ended the session, what was behind the prologue did not run, and
// the error is returned once. Otherwise it may have run, although it must not.
func (c *Conn) Failure() error {
	if failed := c.replies.failed; failed != nil {
		c.replies.failed = nil
		return pgerr.NotRun("the session could not be reset", failed)
	}
	return c.replies.refused
}

// receive notes what the server has sent, moves what is pgx's in b to its front, and returns how much that is.
func (c *Conn) receive(b []byte) (kept int) {
	m := &c.incoming
	for at := 0; at < len(b) && c.replies.refused == nil; {
		from := at
		if m.n == 0 {
			if _, _, rest, whole := Cut(b[at:]); whole && b[at] == 'D' && len(c.replies.sent) == 0 { // a row, of which there may be thousands
				at = len(b) - len(rest)
				kept += move(b, kept, from, at)
				continue
			}
			m.ours = c.isOurs(b[at])
			m.body = m.body[:0]
		}
		if m.n < len(m.head) {
			n := copy(m.head[m.n:], b[at:])
			m.n, at = m.n+n, at+n
			m.left = max(0, int(binary.BigEndian.Uint32(m.head[1:]))-4)
		}
		if m.n == len(m.head) {
			n := min(m.left, len(b)-at)
			if strings.IndexByte("CEZ", m.head[0]) >= 0 {
				m.body = append(m.body, b[at:at+n]...)
			}
			m.left, at = m.left-n, at+n
		}
		if !m.ours {
			kept += move(b, kept, from, at)
		}
		if m.n == len(m.head) && m.left == 0 {
			m.n = 0
			switch kind := m.head[0]; {
			case m.ours:
				c.replied(kind)
			case kind == 'Z' && c.begin.state == beginFailing:
				b[kept-1] = 'E' // the status: see beginFailed
				c.begin.to(beginFailed)
				c.heard(kind, nil)
			default:
				c.heard(kind, m.body)
			}
		}
	}
	return kept
}

// move moves b[from:end] to at, and returns how long that is.
func move(b []byte, at, from, end int) int {
	if at == from {
		return end - from
	}
	return copy(b[at:], b[from:end])
}

// isOurs decides, by its kind, whether the message that begins now is not for pgx.
func (c *Conn) isOurs(kind byte) bool {
	if len(c.replies.sent) == 0 {
		return false
	}
	switch p := &c.replies.sent[0]; kind {
	case 'S', 'N': // ParameterStatus and notices are pgx's, whatever caused them
		return false
	case 'A': // notifications that come before a reset is over are for the user before it
		return p.Simple
	case 'E': // after that of a part, the exchange fails and there are no more answers to prologues
		if p.Simple && !p.begin {
			return true
		}
		if p.begin {
			c.begin.to(beginFailing)
		}
		if c.understood(p, false) {
			c.answers.last.Store(lastRefused)
		}
		c.replies.sent = nil
		c.busy.Store(false)
		return false
	}
	return true
}

// replied takes a message that is not for pgx and was read to its end.
func (c *Conn) replied(kind byte) {
	r := &c.replies
	p := &r.sent[0]
	over := kind == 'Z'
	switch kind {
	case 'E':
		var e pgproto3.ErrorResponse
		_ = e.Decode(c.incoming.body)
		if err := pgconn.ErrorResponseToPgError(&e); pgerr.EndsSession(err) {
			r.failed = err
		} else if !p.IgnoreErrors {
			r.refused = pgerr.SentUnanswered(fmt.Errorf("lmipool: the session was not reset: %w", err))
		}
	case 'C':
		p.Replies--
		if over = !p.Simple && p.Replies == 0; over {
			c.understood(p, true)
		}
	}
	if !over {
		return
	}
	if p.begin {
		c.begin.to(beginNone)
	}
	if r.sent = r.sent[1:]; len(r.sent) == 0 {
		r.sent = nil
	}
	c.busy.Store(r.apart())
}
