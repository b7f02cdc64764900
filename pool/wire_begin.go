package pool

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

// holdBegin has pgx's next Query, which must be the BEGIN of a transaction, held back.
func (w *wire) holdBegin() {
	if w.tx == beginNone {
		w.tx = beginAsked
	}
}

// unhold ends holdBegin, if pgx has sent none.
func (w *wire) unhold() {
	if w.tx == beginAsked {
		w.tx = beginNone
	}
}

// holdBack takes what pgx sends while a BEGIN is not settled, and says whether it
// has dealt with it.
func (w *wire) holdBack(b []byte) (done bool, err error) {
	sql, simple := queryText(b)
	ends := simple && (sql == "commit" || sql == "rollback") // pgx's own words
	switch {
	case b[0] == terminate[0]:
		w.armed = nil
	case w.tx == beginAsked && simple:
		w.query = bytes.Clone(b)
		w.before(prefix{msgs: inParts(sql), answers: 1, begin: true})
		w.tx = beginHeld
		return true, w.answer("BEGIN", 'T')
	case w.tx == beginHeld && ends:
		w.armed = w.armed[:w.heldAt()]
		w.tx = beginNone
		return true, w.answer(string(bytes.ToUpper([]byte(sql))), 'I')
	case w.tx == beginHeld && simple:
		at := w.heldAt()
		if at < len(w.armed)-1 {
			return true, errSimple
		}
		w.armed[at].msgs, w.armed[at].whole = w.query, true
		return w.settle()
	case w.tx == beginFailed && ends:
		w.tx = beginNone
		return true, w.answer("ROLLBACK", 'I')
	case w.tx == beginFailed:
		return true, errNotBegun
	}
	return false, nil
}

// settle sends what is armed, up to BEGIN, and reads the answer. If the server says no,
// pgx has that for the answer to what it has not sent yet: done.
func (w *wire) settle() (done bool, err error) {
	var all []byte
	for _, p := range w.armed {
		all = append(all, p.msgs...)
	}
	if _, err := w.write(all, len(w.armed)); err != nil {
		return false, err
	}
	buf := make([]byte, 1024)
	for w.tx == beginSent || w.tx == beginFailing {
		n, err := w.r.Read(buf)
		n = w.filter(buf[:n])
		w.answers.read(buf[:n])
		w.local = append(w.local, buf[:n]...)
		if err := cmp.Or(w.refused, err); err != nil {
			return false, err
		}
	}
	return w.tx == beginFailed, nil
}

// heldAt is where BEGIN is in armed: behind it is what belongs to its transaction.
func (w *wire) heldAt() int {
	at := 0
	for !w.armed[at].begin {
		at++
	}
	return at
}

// answer tells pgx what the server would have said, behind the rest of what pgx has half of.
func (w *wire) answer(tag string, status byte) error {
	for a := &w.answers; a.n > 0; {
		rest := make([]byte, max(len(a.head)-a.n, a.left))
		n, err := w.r.Read(rest)
		w.local = append(w.local, rest[:n]...)
		if a.read(rest[:n]); err != nil {
			return err
		}
	}
	at := len(w.local)
	w.local = append(w.local, 'C')
	w.local = binary.BigEndian.AppendUint32(w.local, uint32(4+len(tag)+1))
	w.local = append(append(w.local, tag...), 0)
	w.local = append(w.local, 'Z', 0, 0, 0, 5, status)
	w.answers.read(w.local[at:])
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
