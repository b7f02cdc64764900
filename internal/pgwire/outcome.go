package pgwire

import (
	"encoding/binary"
	"sync/atomic"
)

// answers is what the server has said to pgx, as far as the pool has to know it and pgx does not tell: whether a statement that
// failed had begun to run, and whether a transaction has ended. It reads what pgx reads, message by message. Who reads may be a
// goroutine of pgx's, so what others ask for is atomic.
type answers struct {
	head [5]byte // of the message that is being read: its kind and its length
	n    int     // how much of head is there; 0: no message has begun
	left int     // how much of the message is still to come
	tag  []byte  // the beginning of what is in it, if it is a CommandComplete or ReadyForQuery
	last atomic.Uint32
	tx   atomic.Uint32

	commits atomic.Int32 // how many there were
	base    atomic.Int32 // of those, how many when there was no transaction last
	flights atomic.Int32 // that pgx has sent by Conn, and whose ReadyForQuery it has not read
	strays  atomic.Int32 // ReadyForQueries of what Conn has not seen: see Strayed
	reports atomic.Int32 // ParameterStatuses
	known   int32        // the strays that Strayed has told of
}

// What became of the statement that pgx has sent last.
const (
	// lastOther: it has begun to run, or may have: it was bound, or it is a simple Query, which can have committed half of its
	// text; or it was prepared in the same flight, so that its error says nothing of an earlier one; or there were several.
	lastOther uint32 = iota
	lastSent         // it was prepared before, and there is no answer yet
	// lastRefused: it was prepared before, or what travelled in front of it was, and the server said no before it was bound. It
	// did not run.
	lastRefused
)

// What has become of the transaction that pgx has begun, and has not ended itself.
const (
	// ended: something may have been committed, and what followed too. It was committed or prepared by hand, or there was no
	// transaction for a while.
	ended uint32 = 1 << iota
	// rolledBack: it was, by hand, or to a savepoint: the server calls both the same. As long as there is another, by AND CHAIN,
	// nothing was committed.
	rolledBack
)

// longestTag is how much of a tag is looked at.
const longestTag = len("PREPARE TRANSACTION\x00")

// asked notes what pgx sends.
func (a *answers) asked(b []byte) (is content) {
	is = contentOf(b)
	last := lastOther
	if is.whole && b[0] == 'B' && is.binds == 1 && !is.prepares && !is.simple {
		last = lastSent
	}
	a.last.Store(last)
	a.flights.Add(is.flights)
	return is
}

// read notes what pgx is going to read.
func (a *answers) read(b []byte) {
	for len(b) > 0 {
		if a.n == 0 && b[0] == 'D' { // a row, of which there may be thousands
			if _, _, rest, whole := Cut(b); whole {
				b = rest
				continue
			}
		}
		if a.n < len(a.head) {
			n := copy(a.head[a.n:], b)
			a.n += n
			b = b[n:]
			if a.n < len(a.head) {
				return
			}
			a.left = max(0, int(binary.BigEndian.Uint32(a.head[1:]))-4)
			a.tag = a.tag[:0]
		}
		n := min(a.left, len(b))
		if a.head[0] == 'C' || a.head[0] == 'Z' {
			a.tag = append(a.tag, b[:min(n, longestTag-len(a.tag))]...)
		}
		b = b[n:]
		if a.left -= n; a.left == 0 {
			a.n = 0
			a.heard()
		}
	}
}

// heard notes a message that was read to its end.
func (a *answers) heard() {
	switch a.head[0] {
	case '2': // BindComplete
		a.last.CompareAndSwap(lastSent, lastOther)
	case 'E':
		a.last.CompareAndSwap(lastSent, lastRefused)
	case 'S':
		a.reports.Add(1)
	case 'Z':
		if a.flights.Load() == 0 {
			a.strays.Add(1)
		} else {
			a.flights.Add(-1)
		}
		if string(a.tag) == "I" {
			a.tx.Or(ended)
			a.base.Store(a.commits.Load())
		}
	case 'C':
		switch string(a.tag) {
		case "COMMIT\x00", "PREPARE TRANSACTION\x00":
			a.tx.Or(ended)
			a.commits.Add(1)
		case "COMMIT PREPARED\x00", "ROLLBACK PREPARED\x00":
			a.commits.Add(1)
		case "ROLLBACK\x00":
			a.tx.Or(rolledBack)
		case "BEGIN\x00", "START TRANSACTION\x00": // between the two anything may have run by itself
			if a.tx.Load()&rolledBack != 0 {
				a.tx.Or(ended)
			}
		}
	}
}

// Strayed reports whether, since it was asked last, something was sent past Conn, whose answer was read.
func (a *answers) Strayed() bool {
	n := a.strays.Load()
	more := n != a.known
	a.known = n
	return more
}

// Reports counts the settings that the server has reported.
func (a *answers) Reports() int32 { return a.reports.Load() }

// Commits counts the transactions that the server has said to have committed.
func (a *answers) Commits() int32 { return a.commits.Load() }

// CommitsOutside is what Commits was when there was no transaction last.
func (a *answers) CommitsOutside() int32 { return a.base.Load() }

// RefusedUnbound reports whether what pgx has sent last, or what travelled in front of it, had been prepared before, and the
// server said no before it was bound. It did not run.
func (a *answers) RefusedUnbound() bool { return a.last.Load() == lastRefused }

// BeganTx forgets what became of earlier transactions.
func (a *answers) BeganTx() { a.tx.Store(0) }

// EndedInSQL reports whether the transaction that has begun was ended without pgx, or may have been.
func (a *answers) EndedInSQL() bool { return a.tx.Load()&ended != 0 }
