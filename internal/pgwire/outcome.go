package pgwire

import "sync/atomic"

// answers keeps what the pool has to know of the server's answers and pgx does not tell: whether a statement that failed had begun to run, and
// whether a transaction has ended. pgx may read in a goroutine of its own, so the fields that others ask for are atomic.
type answers struct {
	last      atomic.Uint32 // lastOther, lastSent or lastRefused
	tx        atomic.Uint32 // a set of ended and rolledBack
	commits   atomic.Int32  // counts the transactions that the server has said to have committed
	base      atomic.Int32  // the value of commits when the connection was last outside a transaction
	exchanges atomic.Int32  // counts the exchanges that pgx has sent through Conn and whose ReadyForQuery was not read yet
	strays    atomic.Int32  // counts the ReadyForQueries of exchanges that did not pass Conn: see Strayed
	reports   atomic.Int32  // counts the ParameterStatuses
	known     int32         // the value of strays at the last call of Strayed
}

// These are the values of answers.last: what became of the statement that pgx has sent last.
const (
	// lastOther means that the statement may have begun to run: it was bound, or it is a simple Query, which may have committed half of
	// its text. It also stands for a statement that was prepared in the same exchange, and for several statements.
	lastOther   uint32 = iota
	lastSent           // the statement was prepared earlier, and there is no answer yet
	lastRefused        // the server refused, before Bind, the statement or a prologue in front of it: the statement did not run
)

// These are the bits of answers.tx: what became of the transaction that pgx has begun and not ended.
const (
	// ended is set if something may have been committed. The user's SQL has committed or prepared the transaction, or the connection was
	// outside a transaction for a while, when each statement commits by itself.
	ended uint32 = 1 << iota
	// rolledBack is set if the user's SQL has rolled the transaction back, or back to a savepoint: the server answers both in the same way.
	// If another transaction followed at once (AND CHAIN), nothing was committed.
	rolledBack
)

// asked notes b, which pgx sends, and returns what is in it.
func (a *answers) asked(b []byte) (is content) {
	is = contentOf(b)
	last := lastOther
	if is.whole && b[0] == 'B' && is.binds == 1 && !is.prepares && !is.simple {
		last = lastSent
	}
	a.last.Store(last)
	a.exchanges.Add(is.exchanges)
	return is
}

// heard notes a message that pgx gets. body is the message's body if kind is C (CommandComplete) or Z (ReadyForQuery).
func (a *answers) heard(kind byte, body []byte) {
	switch kind {
	case '2': // BindComplete
		a.last.CompareAndSwap(lastSent, lastOther)
	case 'E':
		a.last.CompareAndSwap(lastSent, lastRefused)
	case 'S':
		a.reports.Add(1)
	case 'Z':
		if a.exchanges.Load() == 0 {
			a.strays.Add(1)
		} else {
			a.exchanges.Add(-1)
		}
		if string(body) == "I" {
			a.tx.Or(ended)
			a.base.Store(a.commits.Load())
		}
	case 'C':
		switch string(body) {
		case "COMMIT\x00", "PREPARE TRANSACTION\x00":
			a.tx.Or(ended)
			a.commits.Add(1)
		case "COMMIT PREPARED\x00", "ROLLBACK PREPARED\x00":
			a.commits.Add(1)
		case "ROLLBACK\x00":
			a.tx.Or(rolledBack)
		case "BEGIN\x00", "START TRANSACTION\x00": // since the ROLLBACK, statements may have run outside a transaction
			if a.tx.Load()&rolledBack != 0 {
				a.tx.Or(ended)
			}
		}
	}
}

// Strayed reports whether, since Strayed was last called, an answer was read to an exchange that was not sent through Conn.
func (a *answers) Strayed() bool {
	n := a.strays.Load()
	more := n != a.known
	a.known = n
	return more
}

// Reports counts the server's reports of settings. Commits counts the transactions that the server has said to have committed. CommitsOutside is
// the value of Commits when the connection was last outside a transaction.
func (a *answers) Reports() int32        { return a.reports.Load() }
func (a *answers) Commits() int32        { return a.commits.Load() }
func (a *answers) CommitsOutside() int32 { return a.base.Load() }

// RefusedUnbound reports whether the statement that pgx has sent last certainly did not run: the server has refused, before Bind, that statement or
// the prologue in front of it, which had been prepared earlier.
func (a *answers) RefusedUnbound() bool { return a.last.Load() == lastRefused }

// BeganTx forgets what became of earlier transactions.
func (a *answers) BeganTx() { a.tx.Store(0) }

// EndedInSQL reports whether the user's SQL, and not pgx, may have ended the transaction.
func (a *answers) EndedInSQL() bool { return a.tx.Load()&ended != 0 }
