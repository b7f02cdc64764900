package pgdial

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASocketToAWSIsLookedAfter(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	nc, err := AWSDialer().DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	option := func(name int) (v int) {
		require.NoError(t, raw.Control(func(fd uintptr) { v, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, name) }))
		require.NoError(t, err)
		return v
	}
	assert.Equal(t, 6000, option(tcpUserTimeout))
	assert.Equal(t, 1, option(syscall.TCP_KEEPIDLE))
	assert.Equal(t, 1, option(syscall.TCP_KEEPINTVL))
	assert.Equal(t, 5, option(syscall.TCP_KEEPCNT))
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
