package pgcancel

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCancelConnectionsQueueForTheirTurn(t *testing.T) {
	t.Parallel()
	closing := make(chan struct{})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	l, s := NewLimiter(1, closing), new(stage)
	dialing := func(ctx context.Context) bool { return ctx == t.Context() }
	dial := l.dial(s, dialing, func(context.Context, string, string) (net.Conn, error) { c, _ := net.Pipe(); return c, nil })

	_, err := dial(t.Context(), "tcp", "")
	require.NoError(t, err)
	_, err = dial(context.Background(), "tcp", "")
	require.ErrorIs(t, err, errLogin, "nothing runs in a session that has not begun")
	s.begun.Store(true)
	_, err = dial(context.Background(), "tcp", "")
	require.NoError(t, err)
	open, limit, sent, _ := l.Stat()
	assert.Equal(t, [3]int{0, 1, 0}, [3]int{open, limit, int(sent)}, "none of these cancels anything")

	s.opened.Store(true)
	first, err := dial(context.Background(), "tcp", "")
	require.NoError(t, err)
	_, err = dial(gone, "tcp", "")
	require.ErrorIs(t, err, context.Canceled, "there is no room")
	require.NoError(t, first.Close())
	_ = first.Close()
	first, err = dial(context.Background(), "tcp", "")
	require.NoError(t, err, "the first has left, once")
	open, _, sent, _ = l.Stat()
	assert.Equal(t, [2]int{1, 2}, [2]int{open, int(sent)})

	close(closing)
	second, err := dial(context.Background(), "tcp", "")
	require.NoError(t, err, "Shutdown's do not queue")
	require.NoError(t, second.Close())
	require.NoError(t, first.Close())
	open, _, _, _ = l.Stat()
	assert.Zero(t, open)
}

func TestARequestThatWasAnsweredIsNotSent(t *testing.T) {
	t.Parallel()
	l, s := NewLimiter(8, nil), new(stage)
	s.opened.Store(true)
	dial := l.dial(s, nil, func(context.Context, string, string) (net.Conn, error) { c, _ := net.Pipe(); return c, nil })
	r := newRequest(new(sync.Mutex), context.Canceled)
	r.withdrawLocked()
	_, err := dial(context.WithValue(context.Background(), requestKey{}, r), "tcp", "")
	require.ErrorIs(t, err, errAnswered)
	open, _, sent, _ := l.Stat()
	assert.Zero(t, open)
	assert.Zero(t, sent)
	assert.False(t, r.asked)
}
