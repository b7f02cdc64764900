package pgwire

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
)

// beginState is what became of a BEGIN that does not travel alone.
//
// pgx sends "begin" and gets its answer at once, from here, so that it has its
// ordinary transaction. The BEGIN itself goes in front of the next thing that pgx
// says, in the extended protocol and in the same Sync segment: if it fails, the server
// skips what follows. A simple Query would not be skipped, so BEGIN has its own round
// trip before it. If nothing was said before COMMIT or ROLLBACK, neither says anything.
type beginState uint8

const (
	beginNone    beginState = iota
	beginAsked              // pgx's next Query is the BEGIN that is to be held back
	beginHeld               // pgx has its answer, the server has not heard of it
	beginSent               // the server's answer is to come
	beginFailing            // the server said no, and ReadyForQuery is to come
	// beginFailed: to pgx it is a transaction that has failed, since that is what it must not
	// go on with, and a COMMIT of which is a rollback. The server is in no transaction and
	// must not hear of it: what pgx sends would run, and commit, by itself.
	beginFailed
)

// errNotBegun is what pgx gets that goes on after BEGIN has failed.
var errNotBegun = errors.New("lmipool: BEGIN failed; the transaction can only be rolled back")

// deferral is a BEGIN that does not travel alone.
type deferral struct {
	state beginState
	query []byte // pgx's own Query that begins the transaction, while it is held back
	local []byte // answers to pgx that the server has no part in
}

func (d *deferral) sent() { d.state = beginSent }

// fails notes that the server says no.
func (d *deferral) fails() { d.state = beginFailing }

// failed notes that it has said so, up to ReadyForQuery, and is false if it has not.
func (d *deferral) failed() bool {
	if d.state != beginFailing {
		return false
	}
	d.state = beginFailed
	return true
}

// done notes that the server has begun the transaction.
func (d *deferral) done() { d.state = beginNone }

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

// holdBack takes what pgx sends while a BEGIN is not settled, and says whether it
// has dealt with it.
func (c *Conn) holdBack(b []byte) (done bool, err error) {
	d, q := &c.begin, &c.queue
	sql, simple := queryText(b)
	ends := simple && (sql == "commit" || sql == "rollback") // pgx's own words
	switch {
	case b[0] == terminate[0]:
		q.cut(0)
	case d.state == beginAsked && simple:
		d.query = bytes.Clone(b)
		c.Queue(Prologue{Messages: inParts(sql), Replies: 1, begin: true})
		d.state = beginHeld
		return true, c.answer("BEGIN", 'T')
	case d.state == beginHeld && ends:
		q.cut(q.heldAt())
		d.state = beginNone
		return true, c.answer(string(bytes.ToUpper([]byte(sql))), 'I')
	case d.state == beginHeld && simple:
		at := q.heldAt()
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

// settle sends what is queued, up to BEGIN, and reads the answer. If the server says no,
// pgx has that for the answer to what it has not sent yet: done.
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
	d.local = append(d.local, 'C')
	d.local = binary.BigEndian.AppendUint32(d.local, uint32(4+len(tag)+1))
	d.local = append(append(d.local, tag...), 0)
	d.local = append(d.local, 'Z', 0, 0, 0, 5, status)
	c.answers.read(d.local[at:])
	return nil
}

// queryText is the text of the simple Query that b is, if it is one.
func queryText(b []byte) (sql string, simple bool) {
	if len(b) < 6 || b[0] != 'Q' {
		return "", false
	}
	end := bytes.IndexByte(b[5:], 0)
	if end < 0 {
		return "", false
	}
	return string(b[5 : 5+end]), true
}

// inParts is sql as Parse, Bind and Execute, unnamed and without a Sync.
func inParts(sql string) []byte {
	m := append([]byte{'P', 0, 0, 0, 0, 0}, sql...)
	m = append(m, 0, 0, 0)
	binary.BigEndian.PutUint32(m[1:], uint32(len(m)-1))
	m = append(m, 'B', 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(m, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0)
}
