package pgwire

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// Conn stands between pgx and the socket of one connection: pgx writes to it and reads from it. Only the connection's owner uses it; but
// Busy, Executed, Sent, Commits, CommitsOutside, RefusedUnbound, Broke and Epoch may be called from any goroutine.
type Conn struct {
	r        io.Reader
	w        io.Writer
	queue             // what travels in front of pgx's next exchange
	incoming incoming // what the server says now
	replies  replies  // the answers to prologues, which pgx does not get
	begin    deferral // a BEGIN that is held back
	answers           // what the server has said to pgx
	recorder          // what pgx has sent, while somebody wants to know

	stuck    atomic.Bool           // a write failed
	torn     atomic.Bool           // that write sent a part of what it was given
	busy     atomic.Bool           // a prologue was sent and is not answered yet
	executed atomic.Bool           // something that the server executes was sent since StartCall
	writes   atomic.Int64          // how often pgx has written
	broke    atomic.Pointer[error] // why nothing can be read any more
	epoch    *atomic.Int64         // a number that somebody counts up
	seen     atomic.Int64          // what epoch was when something was last read
}

// incoming is the server's message that is being read. Those that answer prologues are removed from what pgx reads.
type incoming struct {
	head [5]byte // its kind and its length
	n    int     // how much of head is there; 0: no message has begun
	left int     // how much of its body is still to come
	body []byte  // what has come of its body, if that matters
	ours bool    // pgx does not get it
}

// replies are the answers to prologues that were sent. They come before the answers that pgx waits for.
type replies struct {
	sent   []Prologue      // and not answered yet
	failed *pgconn.PgError // the error with which a simple prologue has ended the session
	// refused is set when a simple prologue failed and the session went on, which it must not: what was behind the prologue ran all the
	// same. Nothing more is read then.
	refused error
}

// deferral is pgx's BEGIN, which travels with the first exchange of its transaction.
type deferral struct {
	state beginState
	query []byte // pgx's own Query that begins the transaction, while it is held back
	local []byte // answers that pgx gets from here and not from the server
}

// beginState says how far a deferred BEGIN has come. A simple Query runs even if the BEGIN in front of it fails; so before a simple Query BEGIN
// is sent alone, and its answer is read first. If the transaction ends before anything was sent in it, the server hears of neither BEGIN nor end.
type beginState uint8

const (
	beginNone    beginState = iota
	beginAsked              // pgx's next Query is the BEGIN that is to be held back
	beginHeld               // pgx has its answer, the server has not heard of it
	beginSent               // it was sent and is not answered yet
	beginFailing            // the server has refused it, and ReadyForQuery is still to come
	beginFailed             // ReadyForQuery has come too. pgx believes in a failed transaction, of which the server knows nothing
)

// New returns the Conn of a connection that is about to log in. epoch is a number that somebody counts up.
func New(r io.Reader, w io.Writer, epoch *atomic.Int64) *Conn {
	c := &Conn{r: r, w: w, epoch: epoch}
	c.exchanges.Store(1) // the login
	return c
}

// send writes b to the socket, unless an earlier write failed. pgx keeps what it could not write and would send it together with its Terminate, long
// after its caller was told that it is lost. So then only Terminate is sent; and if a part of a message was sent, the write side is closed instead.
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

// Sent counts what was sent, through c or past it. If it returns something else later, something was sent meanwhile.
func (c *Conn) Sent() [2]int64 { return [2]int64{c.writes.Load(), int64(c.strays.Load())} }

// Passed notes that an exchange which the server executes is about to be sent past c.
func (c *Conn) Passed() {
	c.executed.Store(true)
	c.exchanges.Add(1)
}

// Busy reports whether a prologue was sent that is an exchange of its own, and is not answered yet. Any other fails together with the exchange that it
// is a part of, and its answers may come only at the end of that.
func (c *Conn) Busy() bool { return c.busy.Load() }

// Broke returns why nothing can be read any more, or nil if something can.
func (c *Conn) Broke() error {
	if err := c.broke.Load(); err != nil {
		return *err
	}
	return nil
}

// Epoch returns what epoch, of [New], was when something was last read.
func (c *Conn) Epoch() int64 { return c.seen.Load() }

// StartCall begins a call, and Executed reports whether something that the server executes was sent since then.
func (c *Conn) StartCall()     { c.executed.Store(false) }
func (c *Conn) Executed() bool { return c.executed.Load() }
