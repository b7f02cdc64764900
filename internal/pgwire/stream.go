package pgwire

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

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

// receive notes b, which the server has sent. It moves the bytes that pgx gets to the front of b, and returns how many they are.
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
				b[kept-1] = 'E' // pgx gets the status of a failed transaction: see beginFailed
				c.begin.to(beginFailed)
				c.heard(kind, nil)
			default:
				c.heard(kind, m.body)
			}
		}
	}
	return kept
}

// isOurs reports whether the message that begins now, of the given kind, answers a prologue and is not for pgx.
func (c *Conn) isOurs(kind byte) bool {
	if len(c.replies.sent) == 0 {
		return false
	}
	switch p := &c.replies.sent[0]; kind {
	case 'S', 'N': // ParameterStatus and notices are pgx's, whatever caused them
		return false
	case 'A':
		return p.Between
	case 'E': // if p is not simple, its error is the answer to the whole exchange, and no more answers to prologues come
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

// move moves b[from:end] to b[at:], and returns its length.
func move(b []byte, at, from, end int) int {
	if at == from {
		return end - from
	}
	return copy(b[at:], b[from:end])
}

// replied handles the message in c.incoming, which answers a prologue and was read to its end.
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

// terminate is the protocol's Terminate message.
var terminate = []byte{'X', 0, 0, 0, 4}

// Terminate writes the protocol's Terminate message to w.
func Terminate(w io.Writer) error {
	_, err := w.Write(terminate)
	return err
}

// Cut cuts the first message off b. If b ends inside the first message, whole is false and rest is nil.
func Cut(b []byte) (kind byte, body, rest []byte, whole bool) {
	if len(b) < 5 {
		return 0, nil, nil, false
	}
	n := max(5, 1+int(binary.BigEndian.Uint32(b[1:])))
	if n > len(b) {
		return b[0], b[5:], nil, false
	}
	return b[0], b[5:n], b[n:], true
}

// content says what is in a packet that pgx sends.
type content struct {
	prepares, executes, simple bool  // say whether the packet has a Parse, an Execute, a simple Query
	unnamed                    bool  // says whether the packet executes an unnamed statement that an earlier packet has prepared
	whole                      bool  // says whether the packet ends where a message ends
	binds                      int   // counts the packet's Binds
	exchanges                  int32 // counts the messages that the server answers with ReadyForQuery: Query, Sync and FunctionCall
}

func contentOf(b []byte) (c content) {
	for len(b) > 0 {
		var kind byte
		var body []byte
		switch kind, body, b, c.whole = Cut(b); kind {
		case 'P':
			c.prepares = true
		case 'B':
			if c.binds == 0 && !c.prepares {
				_, statement, _ := bytes.Cut(body, []byte{0}) // the statement's name follows the portal's name
				c.unnamed = len(statement) > 0 && statement[0] == 0
			}
			c.binds++
		case 'E':
			c.executes = true
		case 'Q':
			c.simple = true
			c.exchanges++
		case 'S', 'F':
			c.exchanges++
		}
	}
	return c
}

// inParts returns sql as Parse, Bind and Execute, unnamed and without a Sync.
func inParts(sql string) []byte {
	m := append([]byte{'P', 0, 0, 0, 0, 0}, sql...)
	m = append(m, 0, 0, 0)
	binary.BigEndian.PutUint32(m[1:], uint32(len(m)-1))
	m = append(m, 'B', 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(m, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0)
}

// take returns the bytes of the first n queued prologues and, if bound is true, of the one of Bind. From now on these prologues count as sent.
func (c *Conn) take(n int, bound, unnamed bool) (all []byte) {
	add := func(p *Prologue) {
		all = append(all, c.words(p, unnamed)...)
		c.replies.sent = append(c.replies.sent, *p)
		if p.begin {
			c.begin.to(beginSent)
		}
	}
	for first := c.pop(n); len(first) > 0; first = first[1:] {
		add(&first[0])
	}
	if bound {
		add(c.every)
	}
	c.busy.Store(c.replies.apart())
	return all
}

// apart reports whether a simple prologue was sent and is not answered yet.
func (r *replies) apart() bool {
	return slices.ContainsFunc(r.sent, func(p Prologue) bool { return p.Simple })
}

// Failure returns the error of a simple prologue that failed, or nil. If the server has ended the session, what was behind the prologue did not run,
// and Failure returns the error only once. Otherwise what was behind the prologue may have run, and Failure returns the error each time.
func (c *Conn) Failure() error {
	if failed := c.replies.failed; failed != nil {
		c.replies.failed = nil
		return pgerr.NotRun("the session could not be reset", failed)
	}
	return c.replies.refused
}
