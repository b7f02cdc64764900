package netfault_test

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCutClosesBothSidesAndServesNewOnes(t *testing.T) {
	t.Parallel()
	ends := make(chan error, 1)
	p := proxy(t, serve(t, func(c *net.TCPConn) {
		_, err := io.Copy(c, c) // nil at the end of the stream
		ends <- err
	}))
	c := dial(t, p)
	ping(t, c)
	p.Cut()
	require.ErrorIs(t, readError(t, c), io.EOF)
	require.NoError(t, <-ends)
	ping(t, dial(t, p))
}

func TestResetResetsBothSidesAndServesNewOnes(t *testing.T) {
	t.Parallel()
	ends := make(chan error, 1)
	p := proxy(t, serve(t, func(c *net.TCPConn) {
		_, err := io.Copy(c, c)
		ends <- err
	}))
	c := dial(t, p)
	ping(t, c)
	p.Reset()
	require.ErrorIs(t, readError(t, c), syscall.ECONNRESET)
	require.ErrorIs(t, <-ends, syscall.ECONNRESET)
	ping(t, dial(t, p))
}

func TestForgetLosesWhatIsSentAndServesNewOnes(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, echo))
	c := dial(t, p)
	ping(t, c)
	p.Forget()
	p.Forget()
	send(t, c, "lost")
	require.NoError(t, c.CloseWrite())
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	require.ErrorIs(t, readError(t, c), os.ErrDeadlineExceeded)
	ping(t, dial(t, p))
	p.Cut()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(soon)))
	require.ErrorIs(t, readError(t, c), io.EOF)
}

func TestStallHoldsEverythingBack(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, echo))
	old := dial(t, p)
	ping(t, old)

	p.Stall(true)
	p.Stall(true)
	fresh := dial(t, p)
	for _, c := range []net.Conn{old, fresh} {
		send(t, c, "one ")
		send(t, c, "two")
		require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		require.ErrorIs(t, readError(t, c), os.ErrDeadlineExceeded)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(soon)))
	}

	p.Stall(false)
	p.Stall(false)
	for _, c := range []net.Conn{old, fresh} {
		receive(t, c, "one two")
	}
}

func TestAStallHoldsBackTheEndOfAConnectionToo(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, echo))
	c := dial(t, p)
	ping(t, c)
	p.Stall(true)
	require.NoError(t, c.CloseWrite())
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	require.ErrorIs(t, readError(t, c), os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(soon)))
	p.Stall(false)
	require.ErrorIs(t, readError(t, c), io.EOF)
}

func TestRefuseConcernsOnlyNewConnections(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, echo))
	c := dial(t, p)
	ping(t, c)

	require.NoError(t, p.Refuse(true))
	require.NoError(t, p.Refuse(true))
	_, err := net.Dial("tcp", p.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	ping(t, c)

	require.NoError(t, p.Refuse(false))
	require.NoError(t, p.Refuse(false))
	ping(t, dial(t, p))
	ping(t, c)
}
