package netfault_test

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRoundTripIsAddedAndTakenBack(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, echo))
	c := dial(t, p)
	const d = 20 * time.Millisecond
	p.SetRoundTrip(d)
	var took []time.Duration
	for range 9 {
		took = append(took, timed(func() { ping(t, c) }))
	}
	best := slices.Min(took) // the longer ones show only this machine's load
	require.GreaterOrEqual(t, best, d-time.Millisecond)
	require.Less(t, best, 2*d)

	p.SetRoundTrip(0)
	ping(t, c)
	for i := range took {
		took[i] = timed(func() { ping(t, c) })
	}
	require.Less(t, slices.Min(took), d)
}

func TestDelayIsNotARateLimit(t *testing.T) {
	t.Parallel()
	p := proxy(t, serve(t, echo))
	const d, n = 100 * time.Millisecond, 50
	p.SetRoundTrip(d)
	conns := []net.Conn{dial(t, p), dial(t, p), dial(t, p)}
	took := timed(func() {
		for range n {
			for _, c := range conns {
				send(t, c, "ping")
			}
		}
		for _, c := range conns {
			for range n {
				receive(t, c, "ping")
			}
		}
	})
	require.GreaterOrEqual(t, took, d-time.Millisecond)
	require.Less(t, took, n*d/10)
}

func TestAShorterDelayHoldsForWhatIsUnderWayAndOvertakesNothing(t *testing.T) {
	t.Parallel()
	target := serve(t, echo)
	p, other := proxy(t, target), proxy(t, target)
	c, clock := dial(t, p), dial(t, other)
	ping(t, c)
	// The delay is shortened from an hour, and from one so short that the proxy is already in its last sleep, which nothing interrupts.
	for _, longest := range []time.Duration{time.Hour, 3 * time.Millisecond} {
		for range 10 {
			for _, s := range []struct {
				d    time.Duration
				text string
			}{{longest, "a"}, {longest / 2, "b"}, {0, "c"}} {
				p.SetRoundTrip(s.d)
				send(t, c, s.text)
				// The test cannot see when the proxy has read that and delayed it. After some round trips of another connection it has.
				for range 4 {
					ping(t, clock)
				}
			}
			receive(t, c, "abc")
		}
	}
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
