package pgwire

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Conn stands between pgx and the socket of one connection: pgx writes to it and reads from it. It belongs to whom the
// connection belongs to. Busy, Executed, Sent, Commits, CommitsOutside, RefusedUnbound, Broke and Epoch may be asked by anybody.
type Conn struct {
	r        io.Reader
	out      sender
	queue             // what travels in front of pgx's next flight
	replies  replies  // the answers to that, which pgx does not get
	begin    deferral // a BEGIN that does not travel alone
	answers           // what the server has said to pgx
	recorder          // what pgx has sent, while somebody wants to know

	busy     atomic.Bool           // something of ours was sent, and is not answered
	executed atomic.Bool           // since the last call began, something was sent that the server executes
	writes   atomic.Int64          // that pgx has made
	broke    atomic.Pointer[error] // why nothing can be read any more
	epoch    *atomic.Int64         // nil: nobody counts
	seen     atomic.Int64          // the epoch when something was last read
}

// New returns the Conn of a connection that is about to log in. epoch is a number that somebody counts up; nil: nobody does.
func New(r io.Reader, w io.Writer, epoch *atomic.Int64) *Conn {
	c := &Conn{r: r, out: sender{w: w}, epoch: epoch}
	c.flights.Store(1) // the login
	return c
}

// Write sends what pgx says, with what is queued for it in front.
func (c *Conn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	c.answers.asked(b)
	c.recorder.note(b)
	if c.begin.state != beginNone {
		switch done, err := c.holdBack(b); {
		case err != nil: // b has not been sent
			return 0, err
		case done:
			return len(b), nil
		}
	}
	if c.isEmpty() {
		n, err := c.out.send(b)
		if n > 0 && !c.executed.Load() {
			_, executes, simple := contents(b)
			c.executed.Store(executes || simple)
		}
		return n, err
	}
	return c.writeBehind(b)
}

// writeBehind sends b behind what is queued for it, in one packet.
func (c *Conn) writeBehind(b []byte) (int, error) {
	prepares, executes, simple := contents(b)
	n, part := c.queue.leading()
	if part && simple {
		return 0, ErrSimple
	}
	if executes {
		n = len(c.queued)
	}
	var all []byte
	for i := range c.queued[:n] {
		all = append(all, c.queue.words(&c.queued[i], b)...)
	}
	c.take(n)
	if every := c.every; every != nil && (prepares || executes) {
		all = append(all, c.queue.words(every, b)...)
		c.expect(*every)
	}
	front := len(all)
	c.busy.Store(c.replies.due())
	written, err := c.out.send(append(all, b...))
	if written > front && (executes || simple) {
		c.executed.Store(true)
	}
	return min(max(0, written-front), len(b)), err
}

// Flush sends what is queued and can go alone, and does not wait for the answer.
func (c *Conn) Flush() error {
	n := c.queue.simple()
	if n == 0 {
		return nil
	}
	return c.writeAlone(n)
}

// writeAlone sends the first n queued prologues.
func (c *Conn) writeAlone(n int) error {
	var all []byte
	for _, p := range c.queued[:n] {
		all = append(all, p.Messages...)
	}
	c.take(n)
	c.busy.Store(c.replies.due())
	_, err := c.out.send(all)
	return err
}

// take notes that the first n queued prologues are sent.
func (c *Conn) take(n int) {
	for _, p := range c.queue.take(n) {
		c.expect(p)
		if p.begin {
			c.begin.sent()
		}
	}
}

// Read reads what is pgx's.
func (c *Conn) Read(b []byte) (int, error) {
	if n := c.begin.read(b); n > 0 {
		return n, nil
	}
	for {
		if refused := c.replies.refused; refused != nil {
			return 0, refused
		}
		n, err := c.r.Read(b)
		if n > 0 && c.epoch != nil {
			c.seen.Store(c.epoch.Load())
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // after which it can be read on
			why := err
			c.broke.CompareAndSwap(nil, &why)
		}
		if c.filters() {
			n = c.filter(b[:n])
		}
		c.answers.read(b[:n])
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
	}
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

// Failure returns the error of a simple prologue since it was asked last, nil if there was none: what was behind it has not
// run, or else it is not known whether it has run as it should.
func (c *Conn) Failure() error {
	if failed := c.replies.takeFailed(); failed != nil {
		return pgerr.NotRun("the session could not be reset", failed)
	}
	return c.replies.refused
}

// contents says whether one of the messages in b is a Parse, an Execute, or a simple Query.
func contents(b []byte) (prepares, executes, simple bool) {
	for len(b) >= 5 {
		prepares = prepares || b[0] == 'P'
		executes = executes || b[0] == 'E'
		simple = simple || b[0] == 'Q'
		n := 1 + int(binary.BigEndian.Uint32(b[1:]))
		if n > len(b) {
			break
		}
		b = b[n:]
	}
	return prepares, executes, simple
}
