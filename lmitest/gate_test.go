package lmitest_test

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// gate is where handlers in other processes wait, so that a test knows that they are in there, and decides
// when they go on.
type gate struct {
	t       *testing.T
	l       net.Listener
	arrived chan net.Conn
	done    sync.WaitGroup
}

func newGate(t *testing.T) *gate {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{t: t, l: l, arrived: make(chan net.Conn, 1000)}
	g.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			g.arrived <- c
		}
	})
	t.Cleanup(func() {
		l.Close()
		g.done.Wait()
		close(g.arrived)
		for c := range g.arrived {
			c.Close()
		}
	})
	return g
}

func (g *gate) address() string { return g.l.Addr().String() }

// wantWaiting waits until n more handlers are at the gate.
func (g *gate) wantWaiting(n int) waiting {
	g.t.Helper()
	var w waiting
	for range n {
		select {
		case c := <-g.arrived:
			g.t.Cleanup(func() { c.Close() })
			w = append(w, c)
		case <-g.t.Context().Done():
			g.t.Fatalf("%d of %d at the gate", len(w), n)
		}
	}
	return w
}

type waiting []net.Conn

// pass lets them go on.
func (w waiting) pass() {
	for _, c := range w {
		_, _ = c.Write([]byte{1})
		c.Close()
	}
}

// wantGone waits until the processes of all of them have ended.
func (w waiting) wantGone() {
	for _, c := range w {
		_, _ = c.Read(make([]byte, 1)) // an error, one way or the other
	}
}
