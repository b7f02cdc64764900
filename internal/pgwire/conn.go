package pgwire

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// Conn stands between pgx and the socket of one connection: pgx writes to it and reads from it. It belongs to whom the
// connection belongs to. Busy, Executed, Sent, Commits, CommitsOutside, RefusedUnbound, Broke and Epoch may be asked by anybody.
type Conn struct {
	r        io.Reader
	w        io.Writer
	queue             // what travels in front of pgx's next flight
	replies  replies  // the answers to that, which pgx does not get
	begin    deferral // a BEGIN that does not travel alone
	answers           // what the server has said to pgx
	recorder          // what pgx has sent, while somebody wants to know

	stuck    atomic.Bool           // something could not be written
	torn     atomic.Bool           // but a part of it was
	busy     atomic.Bool           // something of ours was sent, and is not answered
	executed atomic.Bool           // since the last call began, something was sent that the server executes
	writes   atomic.Int64          // that pgx has made
	broke    atomic.Pointer[error] // why nothing can be read any more
	epoch    *atomic.Int64         // nil: nobody counts
	seen     atomic.Int64          // the epoch when something was last read
}

// replies are the answers to prologues that were sent. They come in front of what pgx waits for, and are taken out of what it
// reads, message by message.
type replies struct {
	sent []Prologue // and not answered yet

	// of the message that is being read
	head []byte // of what is not passed on: its first five bytes, or fewer
	left int    // how much of its body is still to come
	pass bool   // it is pgx's
	body []byte // of an error that is not passed on

	failed *pgconn.PgError // of a simple one, which has ended the session
	// refused: a simple one failed and the session did not end with it, which it should have: what was behind it ran all the
	// same. Nothing more is read.
	refused error
}

// deferral is a BEGIN that does not travel alone.
type deferral struct {
	state beginState
	query []byte // pgx's own Query that begins the transaction, while it is held back
	local []byte // answers to pgx that the server has no part in
}

// beginState is what became of a BEGIN that does not travel alone. Nothing keeps a simple Query from running if it fails: in front
// of that it has its own round trip. If nothing was said before COMMIT or ROLLBACK, neither says anything.
type beginState uint8

const (
	beginNone    beginState = iota
	beginAsked              // pgx's next Query is the BEGIN that is to be held back
	beginHeld               // pgx has its answer, the server has not heard of it
	beginSent               // the server's answer is to come
	beginFailing            // the server said no, and ReadyForQuery is to come
	beginFailed             // it has said so: to pgx it is a transaction that has failed, of which the server must not hear
)

// New returns the Conn of a connection that is about to log in. epoch is a number that somebody counts up; nil: nobody does.
func New(r io.Reader, w io.Writer, epoch *atomic.Int64) *Conn {
	c := &Conn{r: r, w: w, epoch: epoch}
	c.flights.Store(1) // the login
	return c
}

// send writes b to the socket, unless something could not be written before: pgx keeps that, and would send it once more with its
// goodbye, long after its caller was told that it is lost. Then only the goodbye is sent or, behind a part of something, the end
// of our half.
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

// Sent counts what was sent, whether c has seen it or not: another count later means that something was.
func (c *Conn) Sent() [2]int64 { return [2]int64{c.writes.Load(), int64(c.strays.Load())} }

// Passed notes that something is about to be sent past c, as that, which the server executes.
func (c *Conn) Passed() {
	c.executed.Store(true)
	c.flights.Add(1)
}

// Busy reports whether something of ours was sent and is not answered yet.
func (c *Conn) Busy() bool { return c.busy.Load() }

// Broke is why nothing can be read any more; nil as long as something can.
func (c *Conn) Broke() error {
	if err := c.broke.Load(); err != nil {
		return *err
	}
	return nil
}

// Epoch is what epoch, of [New], was when something was last read.
func (c *Conn) Epoch() int64 { return c.seen.Load() }

// StartCall begins a call, for Executed.
func (c *Conn) StartCall() { c.executed.Store(false) }

// Executed reports whether, since the last call began, something was sent that the server executes.
func (c *Conn) Executed() bool { return c.executed.Load() }
