package companion

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// places counts who has one.
type places struct {
	mu         sync.Mutex
	open, used int
	full       error
}

func (p *places) TakePlace(context.Context) error { p.add(1, 1); return p.full }
func (p *places) LeavePlace()                     { p.add(-1, 0) }
func (p *places) FreePlace()                      { p.add(0, -1) }
func (p *places) add(open, used int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open += open
	p.used += used
}

func (p *places) are() [2]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return [2]int{p.open, p.used}
}

// pair returns a DialFunc and the server's end of what it dials.
func pair(t *testing.T) (dial func(context.Context, string, string) (net.Conn, error), server func() net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	}
	return dial, func() net.Conn {
		c, err := l.Accept()
		require.NoError(t, err)
		return c
	}
}

func TestAPlaceIsFreeWhenTheServerHasClosedItsEnd(t *testing.T) {
	t.Parallel()
	p := &places{}
	g := &Gate{Places: p, Go: func(_ string, f func()) { go f() }}
	dial, accept := pair(t)
	through := g.Through(dial)
	c, err := through(t.Context(), "", "")
	require.NoError(t, err)
	server := accept()
	assert.Equal(t, [2]int{1, 1}, p.are())
	cancel, err := through(t.Context(), "", "")
	require.NoError(t, err)
	accept().Close()
	assert.Equal(t, [2]int{1, 1}, p.are(), "pgx dials to cancel what runs on c")
	require.NoError(t, cancel.Close())

	read := make(chan error)
	go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
	time.Sleep(time.Millisecond)
	require.NoError(t, c.Close())
	assert.Error(t, <-read, "a Read that runs ends")
	require.ErrorIs(t, c.Close(), net.ErrClosed)
	for _, use := range []func() error{
		func() error { _, err := c.Read(make([]byte, 1)); return err },
		func() error { _, err := c.Write([]byte{1}); return err },
		func() error { return c.SetDeadline(time.Now()) },
	} {
		require.ErrorIs(t, use(), net.ErrClosed)
	}
	_, err = io.Copy(io.Discard, server)
	require.NoError(t, err, "the server sees the end")
	_, err = server.Write([]byte("the rest of a result"))
	require.NoError(t, err)
	assert.Equal(t, [2]int{0, 1}, p.are())
	server.Close()
	require.Eventually(t, func() bool { return p.are() == [2]int{} }, 30*time.Second, time.Millisecond)

	_, err = through(t.Context(), "", "") // the next host
	require.NoError(t, err)
	assert.Equal(t, [2]int{1, 1}, p.are())
	accept().Close()
	assert.Equal(t, 1, g.Cut())
	assert.Equal(t, 0, g.Cut())
	require.Eventually(t, func() bool { return p.are() == [2]int{} }, 30*time.Second, time.Millisecond)
}

func TestADialThatFailsHasNoPlace(t *testing.T) {
	t.Parallel()
	p := &places{}
	fault := errors.New("away")
	g := &Gate{Places: p}
	_, err := g.Through(func(context.Context, string, string) (net.Conn, error) { return nil, fault })(t.Context(), "", "")
	require.ErrorIs(t, err, fault)
	assert.Panics(t, func() {
		_, _ = g.Through(func(context.Context, string, string) (net.Conn, error) { panic(fault) })(t.Context(), "", "")
	})
	assert.Equal(t, [2]int{}, p.are())
}
