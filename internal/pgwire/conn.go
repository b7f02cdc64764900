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
	// refused is set when a simple prologue failed and the server did not end the session. What was behind the prologue may have run then,
	// so nothing more is read.
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

// Busy reports whether a simple prologue was sent and is not answered yet. Other prologues do not count: they are parts of pgx's exchange, and their
// answers may come only at the end of it.
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
