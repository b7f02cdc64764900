package netfault_test

import (
	"crypto/rand"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/netfault"
)

func TestBytesArriveUnchanged(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, echo))
	p.SetRoundTrip(time.Millisecond)
	c := dial(t, p)
	text := make([]byte, 8<<20) // more than the sockets and the proxy hold, so that the sender must wait for the receiver
	_, err := rand.Read(text)
	require.NoError(t, err)

	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		_, _ = c.Write(text)
		_ = c.CloseWrite() // echo then closes its side too
	})
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.True(t, string(text) == string(got), "%d bytes of %d", len(got), len(text))
}

func TestAResetIsHandedOn(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, func(c *net.TCPConn) {
		_, _ = io.CopyN(io.Discard, c, 4)
		_ = c.SetLinger(0)
		c.Close()
	}))
	c := dial(t, p)
	send(t, c, "ping")
	require.ErrorIs(t, readError(t, c), syscall.ECONNRESET)
}

func TestAServerThatIsNotThereClosesTheConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := proxy(t, l.Addr().String())
	l.Close()
	c := dial(t, p)
	require.ErrorIs(t, readError(t, c), io.EOF)
	require.Zero(t, p.Conns())
	require.EqualValues(t, 1, p.Accepted())
}

func TestConnsCountsTheLivingAndAcceptedAll(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, echo))
	a, b := dial(t, p), dial(t, p)
	ping(t, a)
	ping(t, b)
	require.Equal(t, 2, p.Conns())
	a.Close()
	require.Eventually(t, func() bool { return p.Conns() == 1 }, soon, time.Millisecond)
	require.EqualValues(t, 2, p.Accepted())
}

func TestOneThatDoesNotReadHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, echo))
	p.SetRoundTrip(time.Millisecond)
	lazy := dial(t, p)
	require.NoError(t, lazy.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
	_, err := lazy.Write(make([]byte, 256<<20)) // until every buffer on the way is full
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "back-pressure")
	ping(t, dial(t, p))
}

func TestCloseEndsEverythingWhateverGoesOn(t *testing.T) {
	t.Parallel()
	p, err := netfault.Listen(serve(t, echo))
	require.NoError(t, err)
	idle, delayed, stalled := dial(t, p), dial(t, p), dial(t, p)
	for _, c := range []net.Conn{idle, delayed, stalled} {
		ping(t, c)
	}
	p.Stall(true)
	send(t, stalled, "this is held back")
	p.SetRoundTrip(time.Hour)
	send(t, delayed, "this comes in half an hour")

	p.Close() // goleak proves that nothing runs on
	p.Close()
	require.Zero(t, p.Conns())
	for _, c := range []net.Conn{idle, delayed, stalled} {
		require.Error(t, readError(t, c))
	}
	_, err = net.Dial("tcp", p.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, p.Refuse(false))
	_, err = net.Dial("tcp", p.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "closed for good")
}
