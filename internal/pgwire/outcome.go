package pgwire

import "sync/atomic"

// answers is what the pool has to know of the server's answers and pgx does not tell: whether a statement that failed had begun to run, and
// whether a transaction has ended. pgx may read in a goroutine of its own, so the fields that others ask for are atomic.
type answers struct {
	last      atomic.Uint32
	tx        atomic.Uint32
	commits   atomic.Int32 // how many transactions have committed
	base      atomic.Int32 // what commits was when there was last no transaction
	exchanges atomic.Int32 // exchanges that pgx has sent through Conn, and whose ReadyForQuery it has not read
	strays    atomic.Int32 // ReadyForQueries of exchanges that did not pass Conn: see Strayed
	reports   atomic.Int32 // ParameterStatuses
	known     int32        // what strays was at the last Strayed
}

// What became of the statement that pgx has sent last.
const (
	// lastOther: it may have begun to run. It was bound; or it is a simple Query, which may have committed half of its text; or it was
	// prepared in the same exchange, so that its error says nothing of an earlier one; or there were several statements.
	lastOther   uint32 = iota
	lastSent           // it was prepared before, and there is no answer yet
	lastRefused        // it or what travelled in front of it was prepared before, and the server refused that before Bind: it did not run
)

// What has become of the transaction that pgx has begun and not ended.
const (
	// ended: something may have been committed, and what followed too. The user's SQL has committed or prepared it, or there was no
	// transaction for a while.
	ended uint32 = 1 << iota
	// rolledBack: the user's SQL has rolled it back, or back to a savepoint: the server's answer to both is the same. If another
	// transaction followed at once (AND CHAIN), nothing was committed.
	rolledBack
)

// asked notes what pgx sends.
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

// heard notes a message that pgx gets. body is that of a CommandComplete or ReadyForQuery.
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

// Strayed reports whether an answer was read, since Strayed was last called, to something that was sent past Conn.
func (a *answers) Strayed() bool {
	n := a.strays.Load()
	more := n != a.known
	a.known = n
	return more
}

// Reports counts the settings that the server has reported; Commits, the transactions that it has said to have committed. CommitsOutside is what
// Commits was when there was last no transaction.
func (a *answers) Reports() int32        { return a.reports.Load() }
func (a *answers) Commits() int32        { return a.commits.Load() }
func (a *answers) CommitsOutside() int32 { return a.base.Load() }

// RefusedUnbound reports whether what pgx has sent last certainly did not run: it, or what travelled in front of it, had been prepared before,
// and the server refused that before Bind.
func (a *answers) RefusedUnbound() bool { return a.last.Load() == lastRefused }

// BeganTx forgets what became of earlier transactions.
func (a *answers) BeganTx() { a.tx.Store(0) }

// EndedInSQL reports whether the transaction may have been ended by the user's SQL, and not by pgx.
func (a *answers) EndedInSQL() bool { return a.tx.Load()&ended != 0 }
