package pgwire

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"os"
	"strings"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Write sends what pgx sends, with what is queued in front of it, in one packet.
func (c *Conn) Write(b []byte) (int, error) {
	is := c.answers.asked(b)
	c.writes.Add(1)
	c.recorder.note(b)
	if c.begin.state != beginNone {
		switch done, err := c.holdBack(b); {
		case err != nil: // b has not been sent
			return 0, err
		case done:
			return len(b), nil
		}
	}
	all, front := b, 0
	bound := c.every != nil
	if bound && is.simple {
		return 0, ErrSimple
	}
	if bound || c.Queued() {
		ours := c.take(len(c.queued), bound && (is.prepares || is.executes), is.unnamed)
		all, front = append(ours, b...), len(ours)
	}
	n, err := c.send(all)
	if n > front && (is.executes || is.simple) {
		c.executed.Store(true)
	}
	return min(max(0, n-front), len(b)), err
}

// Flush sends the queued prologues that can be sent without pgx's exchange. It does not wait for the answer.
func (c *Conn) Flush() (err error) {
	if n := c.queue.simple(); n > 0 {
		_, err = c.send(c.take(n, false, false))
	}
	return err
}

// Read returns what the server has sent to pgx.
func (c *Conn) Read(b []byte) (int, error) {
	if n := copy(b, c.begin.local); n > 0 {
		c.begin.local = c.begin.local[n:]
		return n, nil
	}
	for {
		if refused := c.replies.refused; refused != nil {
			return 0, refused
		}
		n, err := c.r.Read(b)
		if n > 0 {
			c.seen.Store(c.epoch.Load())
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // reading can go on after a deadline
			why := err
			c.broke.CompareAndSwap(nil, &why)
		}
		n = c.receive(b[:n])
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// errNotBegun is what pgx gets when it goes on after BEGIN has failed.
var errNotBegun = pgerr.Say[pgerr.TxNotBegunError]("lmipool: BEGIN failed; the transaction can only be rolled back")

func (d *deferral) to(next beginState) { d.state = next }

// DeferBegin lets pgx's next Query, which must be the BEGIN of a transaction, be held back.
func (c *Conn) DeferBegin() {
	if c.begin.state == beginNone {
		c.begin.state = beginAsked
	}
}

// UndoDefer ends DeferBegin, if pgx has sent no BEGIN.
func (c *Conn) UndoDefer() {
	if c.begin.state == beginAsked {
		c.begin.state = beginNone
	}
}

// BeginDeferred reports whether a BEGIN is held back.
func (c *Conn) BeginDeferred() bool { return c.begin.state == beginHeld }

// holdBack handles b, which pgx sends while the state of c.begin is not beginNone. If done is true, b must not be sent any more.
func (c *Conn) holdBack(b []byte) (done bool, err error) {
	d, q := &c.begin, &c.queue
	kind, body, _, _ := Cut(b)
	text, _, simple := bytes.Cut(body, []byte{0})
	sql, simple := string(text), simple && kind == 'Q'
	ends := simple && (sql == "commit" || sql == "rollback") // pgx's own words
	switch {
	case kind == terminate[0]:
		q.cut(0)
	case d.state == beginAsked && simple:
		d.query = bytes.Clone(b)
		c.Queue(Prologue{Messages: inParts(sql), Replies: 1, begin: true})
		d.state = beginHeld
		return true, c.answer("BEGIN", 'T')
	case d.state == beginHeld && ends:
		q.cut(q.simple())
		d.state = beginNone
		return true, c.answer(strings.ToUpper(sql), 'I')
	case d.state == beginHeld && simple:
		at := q.simple()
		if at < len(q.queued)-1 {
			return true, ErrSimple
		}
		q.replace(at, d.query)
		return c.settle()
	case d.state == beginFailed && ends:
		d.state = beginNone
		return true, c.answer("ROLLBACK", 'I')
	case d.state == beginFailed:
		return true, errNotBegun
	}
	return false, nil
}

// settle sends all that is queued, of which BEGIN is the last, and reads the answer. If the server refuses BEGIN, pgx gets the error as the answer
// to its own Query, and done is true: the Query must not be sent.
func (c *Conn) settle() (done bool, err error) {
	if _, err := c.send(c.take(len(c.queued), false, false)); err != nil {
		return false, err
	}
	d := &c.begin
	buf := make([]byte, 1024)
	for d.state == beginSent || d.state == beginFailing {
		n, err := c.r.Read(buf)
		n = c.receive(buf[:n])
		d.local = append(d.local, buf[:n]...)
		if err := cmp.Or(c.replies.refused, err); err != nil {
			return false, err
		}
	}
	return d.state == beginFailed, nil
}

// answer lets pgx read a CommandComplete with tag and a ReadyForQuery with status. If pgx has read half a message, the rest of that comes first.
func (c *Conn) answer(tag string, status byte) error {
	d := &c.begin
	for m := &c.incoming; m.n > 0 && !m.ours; {
		rest := make([]byte, max(len(m.head)-m.n, m.left))
		n, err := c.r.Read(rest)
		n = c.receive(rest[:n])
		if d.local = append(d.local, rest[:n]...); err != nil {
			return err
		}
	}
	d.local = binary.BigEndian.AppendUint32(append(d.local, 'C'), uint32(4+len(tag)+1))
	d.local = append(append(d.local, tag...), 0, 'Z', 0, 0, 0, 5, status)
	c.heard('C', []byte(tag+"\x00"))
	c.heard('Z', []byte{status})
	return nil
}
