package pool

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// gate is a flight whose group has its answers, and a queue in which others wait.
func gate(waiting int) (f *flight, brought []*waiter) {
	a := newAdmission(1, func() {})
	p := &Pool{adm: a}
	c := &conn{p: p, lane: &lane{guard: &guard{}}}
	f = &flight{c: c, l: &Lease{p: p}}
	c.lease, a.conns[c] = f.l, struct{}{}
	queue := func(n int) {
		for range n {
			a.queue.push(&waiter{lease: &Lease{}, ride: &ride{}}, false)
		}
	}
	queue(2)
	brought = a.boardLocked(f, time.Now())
	queue(waiting)
	return f, brought
}

func TestAFlightWaitsForThoseItHasJustBrought(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, brought := gate(2)
		boarded := false
		go func() { boarded = f.board() }()
		for _, w := range brought {
			synctest.Wait()
			assert.False(t, boarded, "one of them has not had a CPU yet")
			w.disembark()
		}
		synctest.Wait()
		assert.True(t, boarded)
		assert.Len(t, f.group, 2)
	})
}

func TestAFlightThatIsFullWithoutThemDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, brought := gate(maxFlight)
		boarded := false
		go func() { boarded = f.board() }()
		synctest.Wait()
		assert.True(t, boarded)
		assert.Len(t, f.group, maxFlight)
		for _, w := range brought {
			w.disembark()
		}
	})
}

func TestAFlightThatLandsWaitsForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, _ := gate(2)
		f.landing = true // a lease waits
		boarded := true
		go func() { boarded = f.board() }()
		synctest.Wait()
		assert.False(t, boarded)
	})
}

func TestAFlightWaitsForNobodyIfALeaseIsInFront(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, brought := gate(0)
		f.c.p.adm.queue.push(&waiter{lease: &Lease{}}, false)
		ended := false
		go func() { ended = !f.board() }()
		synctest.Wait()
		assert.True(t, ended, "the lease could have the connection")
		for _, w := range brought {
			w.disembark()
		}
	})
}
