package pool

import (
	"encoding/binary"
	"sync/atomic"
)

// answers is what the server has said to pgx, as far as the pool has to know it and pgx does
// not tell: whether a statement that failed had begun to run, and whether a transaction has
// ended. It reads what pgx reads, message by message. Who reads may be a goroutine of pgx's,
// so what others ask for is atomic.
type answers struct {
	head [5]byte // of the message that is being read: its kind and its length
	n    int     // how much of head is there; 0: no message has begun
	left int     // how much of the message is still to come
	tag  []byte  // the beginning of a CommandComplete's
	last atomic.Uint32
	ends atomic.Uint32
}

// What became of the statement that pgx has sent last.
const (
	// lastOther: it has begun to run, or may have: it was bound, or it is a simple Query, which
	// can have committed half of its text; or it was prepared in the same flight, so that its
	// error says nothing of an earlier one; or there were several.
	lastOther uint32 = iota
	// lastSent: it was prepared before, and there is no answer yet.
	lastSent
	// lastRefused: it was prepared before, or what travelled in front of it was, and the server
	// said no before it was bound. It did not run.
	lastRefused
)

// How a transaction has ended.
const (
	endCommit   uint32 = 1 << iota // COMMIT, or PREPARE TRANSACTION
	endRollback                    // ROLLBACK, or ROLLBACK TO a savepoint: the server calls both the same
)

// longestTag is how much of a tag is looked at.
const longestTag = len("PREPARE TRANSACTION\x00")

// asked notes what pgx sends.
func (a *answers) asked(b []byte) {
	a.last.Store(lastOther)
	if len(b) == 0 || b[0] != 'B' {
		return
	}
	for rest := b; len(rest) > 0; {
		if len(rest) < 5 || rest[0] == 'P' || rest[0] == 'Q' || rest[0] == 'B' && len(rest) < len(b) {
			return
		}
		n := 1 + int(binary.BigEndian.Uint32(rest[1:]))
		if n > len(rest) {
			return
		}
		rest = rest[n:]
	}
	a.last.Store(lastSent)
}

// read notes what pgx is going to read.
func (a *answers) read(b []byte) {
	for len(b) > 0 {
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
		if a.head[0] == 'C' {
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
	case 'C':
		switch string(a.tag) {
		case "COMMIT\x00", "PREPARE TRANSACTION\x00":
			a.ends.Or(endCommit)
		case "ROLLBACK\x00":
			a.ends.Or(endRollback)
		}
	}
}

// ended says how transactions have ended since it was asked last.
func (a *answers) ended() (committed, rolledBack bool) {
	if a.ends.Load() == 0 {
		return false, false
	}
	e := a.ends.Swap(0)
	return e&endCommit != 0, e&endRollback != 0
}
