package netfault_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmipool/lmipool/internal/netfault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is a bound that only a broken proxy exceeds.
const soon = 10 * time.Second

// serve starts a TCP server and returns its address. handle owns the connection that it gets. All connections are closed when the test ends.
func serve(t *testing.T, handle func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			running.Go(func() { handle(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().String()
}

// echo sends back all that it receives, and closes c when its client has closed.
func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	c.Close()
}

func proxy(t *testing.T, target string) *netfault.Proxy {
	t.Helper()
	p, err := netfault.Listen(target)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *netfault.Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(soon)))
	return c.(*net.TCPConn)
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

func receive(t *testing.T, c net.Conn, text string) {
	t.Helper()
	buf := make([]byte, len(text))
	_, err := io.ReadFull(c, buf)
	require.NoError(t, err)
	require.Equal(t, text, string(buf))
}

// ping proves that a connection lives, and that the proxy knows of it.
func ping(t *testing.T, c net.Conn) {
	t.Helper()
	send(t, c, "ping")
	receive(t, c, "ping")
}

// readError returns the error of the next read of a connection.
func readError(t *testing.T, c net.Conn) error {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n)
	return err
}
