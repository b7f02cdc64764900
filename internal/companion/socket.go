package companion

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// patience is how long the server may take to end the session of a closed connection before what runs there is cancelled. Without a statement it
	// takes a round trip.
	patience = 100 * time.Millisecond
	// closeTimeout bounds how long a connection that is being closed has its place.
	closeTimeout = 15 * time.Second
)

// socket is a connection with a place. PostgreSQL closes the socket when its process ends. So Close shuts the write side, and reads to the server's end in
// the background before it gives the place back.
type socket struct {
	net.Conn
	gate    *Gate
	pc      atomic.Pointer[pgconn.PgConn] // nil until the login is over
	reading sync.Mutex                    // is held by Read

	mu     sync.Mutex // guards closed, and the deadlines
	closed bool       // nobody but close uses Conn any more
}

func (c *socket) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *socket) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	return c.Conn.Read(b)
}

func (c *socket) Write(b []byte) (int, error) {
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *socket) SetDeadline(t time.Time) error      { return c.set(c.Conn.SetDeadline, t) }
func (c *socket) SetReadDeadline(t time.Time) error  { return c.set(c.Conn.SetReadDeadline, t) }
func (c *socket) SetWriteDeadline(t time.Time) error { return c.set(c.Conn.SetWriteDeadline, t) }

func (c *socket) set(deadline func(time.Time) error, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return deadline(t)
}

func (c *socket) Close() error {
	if !c.close(patience) {
		return net.ErrClosed
	}
	return nil
}

// close closes c, and has what runs there cancelled if the server has not ended the session after wait. It returns false if c was closed before.
func (c *socket) close(wait time.Duration) bool {
	c.mu.Lock()
	was := c.closed
	if c.closed = true; !was {
		_ = c.Conn.SetDeadline(time.Unix(1, 0)) // ends a Read and a Write that run
	}
	c.mu.Unlock()
	if was {
		return false
	}
	c.gate.mu.Lock()
	delete(c.gate.open, c)
	c.gate.mu.Unlock()
	c.gate.Places.LeavePlace()
	c.gate.Go("close", func() {
		defer c.gate.Places.FreePlace()
		defer c.Conn.Close()
		c.reading.Lock()   // a Read that ran sees its deadline before there is another
		c.reading.Unlock() //nolint:staticcheck // a later Read returns at once, since c is closed
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		for !c.ends(wait) && ctx.Err() == nil { // a cancel request does nothing if it comes before the statement begins, so there may be several
			if pc := c.pc.Load(); pc != nil {
				_ = pc.CancelRequest(ctx) // reads only what never changes
			}
			wait = min(max(patience, 2*wait), time.Second)
		}
	})
	return true
}

// ends reads to the server's end. It returns false if that does not come within wait.
func (c *socket) ends(wait time.Duration) bool {
	_ = c.Conn.SetReadDeadline(time.Now().Add(wait))
	_, err := io.Copy(io.Discard, c.Conn)
	ne, ok := err.(net.Error) //nolint:errorlint // a net.Conn returns it as it is
	return !ok || !ne.Timeout()
}
