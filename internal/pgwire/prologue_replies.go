package pgwire

import (
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// take returns the words of the first n that are queued and, with bound, of what is bound. From now on they count as sent.
func (c *Conn) take(n int, bound, unnamed bool) (all []byte) {
	add := func(p *Prologue) {
		all = append(all, c.words(p, unnamed)...)
		c.replies.sent = append(c.replies.sent, *p)
		if p.begin {
			c.begin.sent()
		}
	}
	for i := range c.queued[:n] {
		add(&c.queued[i])
	}
	c.queue.drop(n)
	if bound {
		add(c.every)
	}
	c.busy.Store(len(c.replies.sent) > 0)
	return all
}

// writeAlone sends the first n queued prologues.
func (c *Conn) writeAlone(n int) error {
	_, err := c.send(c.take(n, false, false))
	return err
}

// Failure returns the error of a simple prologue since it was asked last, nil if there was none: what was behind it has not run,
// or else it is not known whether it has run as it should.
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
			if r.head[0] == 'Z' && n == r.left && c.begin.state == beginFailing {
				b[kept-1] = 'E' // the status: see beginFailed
				c.begin.failed()
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
			if c.understood(p, false) {
				c.answers.last.Store(lastRefused)
			}
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
