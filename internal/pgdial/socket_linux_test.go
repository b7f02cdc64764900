package pgdial

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASocketToAWSIsLookedAfter(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	times := func(dial pgconn.DialFunc) (is [4]int) {
		nc, err := LookAfter(dial)(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
		raw, err := nc.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		for i, name := range []int{tcpUserTimeout, syscall.TCP_KEEPIDLE, syscall.TCP_KEEPINTVL, syscall.TCP_KEEPCNT} {
			require.NoError(t, raw.Control(func(fd uintptr) { is[i], err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, name) }))
			require.NoError(t, err)
		}
		return is
	}
	parsed, err := pgconn.ParseConfig("host=h")
	require.NoError(t, err)
	own := 0
	for _, c := range []struct {
		dialer net.Dialer
		want   [4]int
	}{
		{net.Dialer{Control: func(string, string, syscall.RawConn) error { own++; return nil }}, [4]int{6000, 1, 1, 5}},
		{net.Dialer{KeepAlive: time.Minute}, [4]int{0, 60, 15, 9}},
		{net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 3 * time.Second, Count: 2}}, [4]int{0, 7, 3, 2}},
		{net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, 9000) }), err)
		}}, [4]int{9000, 15, 15, 9}},
	} {
		assert.Equal(t, c.want, times(c.dialer.DialContext))
	}
	assert.Equal(t, 1, own)
	assert.Equal(t, [4]int{6000, 1, 1, 5}, times(parsed.DialFunc), "pgx's own dialer")
	assert.Zero(t, times((&net.Dialer{KeepAlive: -1}).DialContext)[0], "no keepalive at all")
}

func TestALookAtASocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer ours.Close()
	theirs, err := l.Accept()
	require.NoError(t, err)
	p := NewPeeker(ours)
	assert.Equal(t, Nothing, p.Look())
	_, err = theirs.Write([]byte("x"))
	require.NoError(t, err)
	assert.Eventually(t, func() bool { return p.Look() == Something }, 5e9, 1e5)
	_, err = ours.Read(make([]byte, 1))
	require.NoError(t, err)
	assert.Equal(t, Nothing, p.Look())
	reading := make(chan struct{})
	go func() { defer close(reading); _, _ = ours.Read(make([]byte, 1)) }()
	assert.Equal(t, Nothing, p.Look(), "it does not wait for a read that is under way")
	require.NoError(t, theirs.Close())
	<-reading
	assert.Eventually(t, func() bool { return p.Look() == End }, 5e9, 1e5)
	require.NoError(t, ours.Close())
	assert.Equal(t, End, p.Look())
	var none *Peeker
	assert.Equal(t, Nothing, none.Look())
	a, _ := net.Pipe()
	assert.Nil(t, NewPeeker(a))
}

func BenchmarkALookAtASocket(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	defer ours.Close()
	p := NewPeeker(ours)
	b.ReportAllocs()
	for b.Loop() {
		p.Look()
	}
}
