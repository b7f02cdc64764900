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

// Write sends what pgx says, with what is queued for it in front, in one packet.
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

// Flush sends what is queued and can go alone, and does not wait for the answer.
func (c *Conn) Flush() error {
	if n := c.queue.simple(); n > 0 {
		return c.writeAlone(n)
	}
	return nil
}

// Read reads what is pgx's.
func (c *Conn) Read(b []byte) (int, error) {
	if n := c.begin.read(b); n > 0 {
		return n, nil
	}
	for {
		if refused := c.replies.refused; refused != nil {
			return 0, refused
		}
		n, err := c.r.Read(b)
		if n > 0 && c.epoch != nil {
			c.seen.Store(c.epoch.Load())
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // after which it can be read on
			why := err
			c.broke.CompareAndSwap(nil, &why)
		}
		n = c.filter(b[:n])
		c.answers.read(b[:n])
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// errNotBegun is what pgx gets that goes on after BEGIN has failed.
var errNotBegun = pgerr.Say[pgerr.TxNotBegunError]("lmipool: BEGIN failed; the transaction can only be rolled back")

// These note that BEGIN was sent, that the server has begun the transaction, that it says no, and has said so up to ReadyForQuery.
func (d *deferral) sent()   { d.state = beginSent }
func (d *deferral) done()   { d.state = beginNone }
func (d *deferral) fails()  { d.state = beginFailing }
func (d *deferral) failed() { d.state = beginFailed }

// read reads what is local.
func (d *deferral) read(b []byte) int {
	n := copy(b, d.local)
	d.local = d.local[n:]
	return n
}

// DeferBegin has pgx's next Query, which must be the BEGIN of a transaction, held back.
func (c *Conn) DeferBegin() {
	if c.begin.state == beginNone {
		c.begin.state = beginAsked
	}
}

// UndoDefer ends DeferBegin, if pgx has sent none.
func (c *Conn) UndoDefer() {
	if c.begin.state == beginAsked {
		c.begin.state = beginNone
	}
}

// BeginDeferred reports whether a BEGIN is held back.
func (c *Conn) BeginDeferred() bool { return c.begin.state == beginHeld }

// holdBack takes what pgx sends while a BEGIN is not settled, and says whether it has dealt with it.
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

// settle sends what is queued, up to BEGIN, and reads the answer. If the server says no, pgx has that for the answer to what it
// has not sent yet: done.
func (c *Conn) settle() (done bool, err error) {
	if err := c.writeAlone(len(c.queued)); err != nil {
		return false, err
	}
	d := &c.begin
	buf := make([]byte, 1024)
	for d.state == beginSent || d.state == beginFailing {
		n, err := c.r.Read(buf)
		n = c.filter(buf[:n])
		c.answers.read(buf[:n])
		d.local = append(d.local, buf[:n]...)
		if err := cmp.Or(c.replies.refused, err); err != nil {
			return false, err
		}
	}
	return d.state == beginFailed, nil
}

// answer tells pgx what the server would have said, behind the rest of what pgx has half of.
func (c *Conn) answer(tag string, status byte) error {
	d := &c.begin
	for a := &c.answers; a.n > 0; {
		rest := make([]byte, max(len(a.head)-a.n, a.left))
		n, err := c.r.Read(rest)
		d.local = append(d.local, rest[:n]...)
		if a.read(rest[:n]); err != nil {
			return err
		}
	}
	at := len(d.local)
	d.local = binary.BigEndian.AppendUint32(append(d.local, 'C'), uint32(4+len(tag)+1))
	d.local = append(append(d.local, tag...), 0, 'Z', 0, 0, 0, 5, status)
	c.answers.read(d.local[at:])
	return nil
}
