package pgwire

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// Conn stands between pgx and the socket of one connection: pgx writes to it and reads from it. Only the connection's owner may call its methods, except
// Busy, Executed, Sent, Commits, CommitsOutside, RefusedUnbound, Broke and Epoch, which any goroutine may call.
type Conn struct {
	r        io.Reader
	w        io.Writer
	queue             // the prologues that travel in front of pgx's next exchange
	incoming incoming // the server's message that is being read
	replies  replies  // the answers to prologues, which pgx does not get
	begin    deferral // pgx's BEGIN that is held back
	answers           // what the server has said to pgx
	recorder          // keeps what pgx sends, from Record to Recorded and from Watch to Watched

	stuck    atomic.Bool           // is set when a write has failed
	torn     atomic.Bool           // is set if the failed write has sent a part of its bytes
	busy     atomic.Bool           // is set while a simple prologue was sent and is not answered yet
	executed atomic.Bool           // is set when something that the server executes was sent since StartCall
	writes   atomic.Int64          // counts the calls of Write
	broke    atomic.Pointer[error] // the error after which nothing can be read any more; nil if there was none
	epoch    *atomic.Int64         // see New
	seen     atomic.Int64          // the value of epoch when something was last read
}

// incoming is the server's message that is being read. A message that answers a prologue is removed from what pgx reads.
type incoming struct {
	head [5]byte // the message's kind and length
	n    int     // how many bytes of head were read; 0 if no message has begun
	left int     // how many bytes of the body are still to come
	body []byte  // the bytes of the body that were read; kept only for the kinds C, E and Z, which are decoded here
	ours bool    // is true if the message answers a prologue, so that pgx does not get it
}

// replies are the answers to prologues that were sent. They come before the answers that pgx waits for.
type replies struct {
	sent   []Prologue      // the prologues that were sent and are not answered yet
	failed *pgconn.PgError // the error with which a simple prologue has ended the session
	// refused is set when a simple prologue failed and the server did not end the session. What was behind it may have run, so nothing more is read.
	refused error
}

// deferral is pgx's BEGIN, which travels with the first exchange of its transaction.
type deferral struct {
	state beginState
	query []byte // pgx's BEGIN as pgx has written it: a simple Query
	local []byte // bytes that pgx reads before anything from the socket: answers made here, or read while pgx was writing
}

// beginState says how far a deferred BEGIN has come. A simple Query runs even if the BEGIN in front of it fails. So before a simple Query, BEGIN is
// sent alone, and its answer is read first. If the transaction ends before anything was sent in it, neither BEGIN nor the end is sent to the server.
type beginState uint8

const (
	beginNone    beginState = iota // no BEGIN is held back
	beginAsked                     // pgx's next Query is the BEGIN that is to be held back
	beginHeld                      // pgx has the answer to BEGIN, and the server has not got BEGIN
	beginSent                      // BEGIN was sent and is not answered yet
	beginFailing                   // the server has refused BEGIN, and its ReadyForQuery is still to come
	beginFailed                    // ReadyForQuery has come too: pgx was told of a failed transaction, and the server is in none
)

// New returns the Conn of a connection that is about to log in. epoch is a number that the caller counts up; see Epoch.
func New(r io.Reader, w io.Writer, epoch *atomic.Int64) *Conn {
	c := &Conn{r: r, w: w, epoch: epoch}
	c.exchanges.Store(1) // the login
	return c
}

// send writes b to the socket, unless an earlier write failed. pgx keeps what it could not write, and would send that together with its Terminate,
// long after its caller got the error. So after a failed write only Terminate is sent, or, if a part of b was sent, the write side is closed.
func (c *Conn) send(b []byte) (int, error) {
	if !c.stuck.Load() {
		n, err := c.w.Write(b)
		if err != nil {
			c.torn.Store(n > 0)
			c.stuck.Store(true)
		}
		return n, err
	}
	bye := bytes.HasSuffix(b, terminate)
	if bye && !c.torn.Load() {
		return c.w.Write(terminate)
	}
	if half, ok := c.w.(interface{ CloseWrite() error }); bye && ok {
		_ = half.CloseWrite()
	}
	return 0, net.ErrClosed
}

// Sent returns counts of what was sent, through c and past c. If a later call returns other counts, something was sent in between.
func (c *Conn) Sent() [2]int64 { return [2]int64{c.writes.Load(), int64(c.strays.Load())} }

// Passed notes that an exchange which the server executes is about to be written to the socket without Write.
func (c *Conn) Passed() {
	c.executed.Store(true)
	c.exchanges.Add(1)
}

// Busy reports whether a simple prologue was sent and is not answered yet. Other prologues do not count: they are parts of pgx's exchange.
func (c *Conn) Busy() bool { return c.busy.Load() }

// Broke returns why nothing can be read any more, or nil if something can.
func (c *Conn) Broke() error {
	if err := c.broke.Load(); err != nil {
		return *err
	}
	return nil
}

// Epoch returns the value of the epoch of [New] when something was last read. So the caller sees whether the server has answered since it counted up.
func (c *Conn) Epoch() int64 { return c.seen.Load() }

// StartCall begins a call, and Executed reports whether something that the server executes was sent since then.
func (c *Conn) StartCall()     { c.executed.Store(false) }
func (c *Conn) Executed() bool { return c.executed.Load() }

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
