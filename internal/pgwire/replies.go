package pgwire

import (
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// replies are the answers to prologues that were sent. They come in front of what pgx waits for, and are taken out of
// what it reads, message by message.
type replies struct {
	sent []Prologue // and not answered yet

	// of the message that is being read
	head []byte // of what is not passed on: its first five bytes, or fewer
	left int    // how much of its body is still to come
	pass bool   // it is pgx's
	body []byte // of an error that is not passed on

	failed *pgconn.PgError // of a simple one, which has ended the session
	// refused: a simple one failed and the session did not end with it, which it should
	// have: what was behind it ran all the same. Nothing more is read.
	refused error
}

// due reports whether something is to be answered.
func (r *replies) due() bool { return len(r.sent) > 0 }

// takeFailed returns failed, once.
func (r *replies) takeFailed() *pgconn.PgError {
	err := r.failed
	r.failed = nil
	return err
}

// expect notes that p was sent.
func (c *Conn) expect(p Prologue) { c.replies.sent = append(c.replies.sent, p) }

// filters reports whether what is read next may be another's than pgx's.
func (c *Conn) filters() bool {
	return c.replies.due() || len(c.replies.head) > 0 || c.begin.state == beginFailing
}

// filter moves what is pgx's in b to its front, and returns how much that is.
func (c *Conn) filter(b []byte) (kept int) {
	r := &c.replies
	if a := &c.answers; len(r.head) == 0 && r.left == 0 && a.n > 0 { // pgx has the first half, of a notification say
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
			if r.head[0] == 'Z' && n == r.left && c.begin.failed() {
				b[kept-1] = 'E' // the status: see beginFailed
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

// beginMessage decides whose the message is that begins with kind.
func (c *Conn) beginMessage(kind byte) {
	r := &c.replies
	if len(r.sent) == 0 { // up to the ReadyForQuery of a BEGIN that has failed
		r.pass = true
		return
	}
	switch p := &r.sent[0]; kind {
	case 'S', 'N': // ParameterStatus and notices are pgx's, whoever caused them
		r.pass = true
	case 'A': // before a reset is over notifications are for who was there before
		r.pass = !p.Simple
	case 'E': // of a part: its flight fails, and has no answers of ours any more
		r.pass = !p.Simple || p.begin
		if r.pass {
			if p.begin {
				c.begin.fails()
			}
			c.understood(p, false)
			c.answered()
		}
	default:
		r.pass = false
	}
}

// endMessage ends a message.
func (c *Conn) endMessage() {
	r := &c.replies
	kind := r.head[0]
	r.head = r.head[:0]
	if r.pass {
		return
	}
	switch kind {
	case 'E':
		var e pgproto3.ErrorResponse
		_ = e.Decode(r.body)
		r.body = nil
		if err := pgconn.ErrorResponseToPgError(&e); pgerr.EndsSession(err) {
			r.failed = err
		} else if !r.sent[0].IgnoreErrors {
			r.refused = pgerr.SentUnanswered(fmt.Errorf("lmipool: the session was not reset: %w", err))
		}
	case 'C':
		if p := &r.sent[0]; !p.Simple {
			if p.Replies--; p.Replies == 0 {
				c.understood(p, true)
				c.answered()
			}
		}
	case 'Z':
		c.answered()
	}
}

// understood notes whether the server has done what p says.
func (c *Conn) understood(p *Prologue, ok bool) {
	if c.queue.understood(p, ok) {
		c.answers.last.Store(lastRefused)
	}
}

// answered ends the oldest prologue; with the error of a part, which is passed on, all of them.
func (c *Conn) answered() {
	r := &c.replies
	if r.sent[0].begin && !r.pass {
		c.begin.done()
	}
	r.sent = r.sent[1:]
	if r.pass || len(r.sent) == 0 {
		r.sent = nil
		c.busy.Store(false)
	}
}
