package pool

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// desk is an admission whose dials are the test's.
type desk struct {
	*admission
	t     *testing.T
	ctx   context.Context
	dials chan struct{} // one for each dial that was begun
}

func newDesk(t *testing.T, maxConns int) *desk {
	d := &desk{t: t, dials: make(chan struct{}, 100)}
	d.admission = newAdmission(maxConns, func() { d.dials <- struct{}{} })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	d.ctx = ctx
	return d
}

// queue adds a waiter and returns where its end comes.
func (d *desk) queue(first bool) <-chan grant {
	d.t.Helper()
	before := d.stat()
	end := make(chan grant, 1)
	go func() {
		c, err := d.acquire(d.ctx, &Lease{asked: time.Now()}, first)
		end <- grant{c, err}
	}()
	require.Eventually(d.t, func() bool {
		s := d.stat()
		return s.queued > before.queued || s.counts.acquires > before.counts.acquires
	}, 5*time.Second, 100*time.Microsecond)
	return end
}

func (d *desk) put(c *conn) { d.admission.put(c, d.now()) }

func (d *desk) dialed(c *conn) { d.admission.dialed(c, time.Millisecond) }

// open makes a connection that is out.
func (d *desk) open() *conn {
	d.t.Helper()
	end := d.queue(false)
	<-d.dials
	d.dialed(&conn{})
	return (<-end).c
}

func TestABackOffThatIsOverDelaysNoDial(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 3)
	c := d.open()
	second := d.queue(false)
	<-d.dials
	d.mu.Lock()
	d.failures = 7
	d.mu.Unlock()
	d.dialFailed(errors.New("no"), lack{}, time.Now()) // rests for 3 s at least
	d.drop(c)                                          // but with nothing left a dial begins as soon as the last one is a while ago
	<-d.dials
	d.dialed(&conn{})
	<-second
	d.open()
	d.mu.Lock()
	d.hold = average{d: time.Millisecond, any: true} // so that only the wait itself asks for more
	d.mu.Unlock()
	began := time.Now()
	d.queue(false)
	<-d.dials
	assert.Less(t, time.Since(began), time.Second)
}

func TestASuccessfulDialEndsTheBackOff(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 3)
	d.open()
	for range 3 {
		d.queue(false)
	}
	<-d.dials
	d.mu.Lock()
	d.failures = 7
	d.notBefore = time.Now().Add(time.Hour)
	d.mu.Unlock()
	d.dialed(&conn{}) // the second of three
	select {
	case <-d.dials:
	case <-d.ctx.Done():
		t.Error("the others get no dial")
	}
	d.dialFailed(errors.New("no"), lack{}, time.Now())
	assert.Less(t, time.Until(d.notBefore), 60*time.Millisecond, "it begins small again")
}

func TestAConnectionServedToWhoJustLeftGoesToTheNext(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	c := d.open()
	for range 10 {
		ctx, cancel := context.WithCancel(d.ctx)
		end := make(chan grant, 1)
		go func() {
			c, err := d.acquire(ctx, &Lease{asked: time.Now()}, false)
			end <- grant{c, err}
		}()
		require.Eventually(t, func() bool { return d.stat().queued == 1 }, 5*time.Second, 10*time.Microsecond)
		d.mu.Lock()
		cancel()
		time.Sleep(time.Millisecond) // it sees its ctx's end and wants the lock
		now := d.now()
		d.returnedLocked(c, now)
		d.serveLocked(c, now)
		d.mu.Unlock()
		if g := <-end; g.err == nil {
			d.put(g.c)
		}
		g, err := d.acquire(d.ctx, &Lease{asked: time.Now()}, false) // else waits for ever
		require.NoError(t, err)
		require.Same(t, c, g)
	}
}

func TestWhoGotABadConnectionIsNext(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	c := d.open()
	d.queue(false)
	again := d.queue(true)
	d.put(c)
	select {
	case g := <-again:
		assert.Same(t, c, g.c)
	case <-d.ctx.Done():
		t.Error("somebody else was served")
	}
}

func TestAFailedDialIsNoErrorOfWhoCameLater(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	first := d.queue(false)
	<-d.dials
	start := time.Now()
	time.Sleep(time.Millisecond) // the clock must move
	later := d.queue(false)
	d.dialFailed(errors.New("no"), lack{}, start)
	assert.EqualError(t, (<-first).err, "no")
	<-d.dials // one of its own, at once
	d.dialed(&conn{})
	assert.NoError(t, (<-later).err)
}

func TestAFailedDialIsNoErrorWhileAnotherRuns(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	d.mu.Lock()
	d.limit = 2
	d.mu.Unlock()
	a, b := d.queue(false), d.queue(false)
	<-d.dials
	<-d.dials
	d.dialFailed(errors.New("no"), lack{}, time.Now())
	assert.Empty(t, a)
	d.dialed(&conn{})
	c := (<-a).c
	d.put(c)
	assert.NoError(t, (<-b).err)
}

func TestDialsAreNoStampede(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 64)
	d.open()
	d.mu.Lock()
	d.hold, d.leastHold = average{d: time.Second, any: true}, least{d: time.Second, any: true}
	d.mu.Unlock()
	for range 64 {
		d.queue(false)
	}
	assert.EqualValues(t, maxDials, d.stat().constructing)
}

func TestAStallIsAsDearAsThoseWhomOneMoreConnectionWouldServe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		queue   string // r rides, l waits for a lease
		freed   bool
		washing int
		dialing int
		owed    time.Duration
	}{
		{"nobody", "", false, 0, 0, 0},
		{"a lease", "l", false, 0, 0, stallTick},
		{"of leases the first", "llll", false, 0, 0, stallTick},
		{"reads all that wait", "rrrlr", false, 0, 0, 4 * stallTick},
		{"but no read behind a lease", "lrrr", false, 0, 0, stallTick},
		{"up to a flight", strings.Repeat("r", 2*maxFlight), false, 0, 0, maxFlight * stallTick},
		{"something came free", "rrr", true, 0, 0, 0},
		{"something will, in a round trip", "rrr", false, 1, 0, 0},
		{"they wait for a dial", "rrr", false, 0, 1, 0},
	} {
		d := newDesk(t, 1) // has no room to dial, so the only look is the test's
		d.open()
		d.mu.Lock()
		for _, what := range c.queue {
			w := &waiter{lease: &Lease{}}
			if what == 'r' {
				w.ride = &ride{}
			}
			d.admission.queue.push(w, false)
		}
		d.freed, d.washing, d.dialing = c.freed, c.washing, c.dialing
		d.mu.Unlock()
		d.checkAgain()
		d.mu.Lock()
		assert.Equal(t, c.owed, d.debt.d, c.name)
		d.mu.Unlock()
	}
}

func TestWhatComesFreeEndsAStall(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	c := d.open()
	end := d.queue(false)
	d.queue(false)
	d.mu.Lock()
	d.freed = false // a tick begins
	d.mu.Unlock()
	d.checkAgain()
	d.mu.Lock()
	assert.Equal(t, stallTick, d.stalled)
	d.mu.Unlock()
	d.put(c)
	<-end
	d.checkAgain()
	d.mu.Lock()
	assert.Zero(t, d.stalled, "the tick was not a whole one")
	d.mu.Unlock()
}

func TestTheFloorIsReachedThoughADialFails(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4)
	d.put(d.open())
	d.setFloor(2)
	<-d.dials
	d.dialFailed(errors.New("no"), lack{}, time.Now())
	select {
	case <-d.dials: // by itself, after the rest
	case <-d.ctx.Done():
		t.Error("no other dial")
	}
}

func TestHoldsAreMeasured(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4)
	c := d.open()
	d.mu.Lock()
	c.since = c.since.Add(-time.Second)
	d.mu.Unlock()
	d.put(c)
	assert.InDelta(t, time.Second, d.stat().holdTime, float64(100*time.Millisecond))
	_, err := d.acquire(d.ctx, &Lease{asked: time.Now()}, false)
	require.NoError(t, err)
	d.queue(false)
	assert.EqualValues(t, 1, d.stat().constructing, "a hold is long: not even 10 ms are waited")
}

func TestReapingLowersTheLimit(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4)
	a := d.open()
	d.mu.Lock()
	d.limit = 2
	d.mu.Unlock()
	b := d.open()
	d.put(a)
	d.put(b)
	taken := d.takeIdle(func(_ *conn, idle, open int) bool { return idle > 1 })
	assert.Equal(t, []*conn{a}, taken, "the longest idle")
	assert.Equal(t, 1, d.stat().limit)
	c, err := d.acquire(d.ctx, &Lease{asked: time.Now()}, false)
	require.NoError(t, err)
	assert.Same(t, b, c)
}

func TestTheLastUsedIsUsedFirst(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4)
	a := d.open()
	d.mu.Lock()
	d.limit = 2
	d.mu.Unlock()
	b := d.open()
	d.put(a)
	d.put(b)
	c, err := d.acquire(d.ctx, &Lease{asked: time.Now()}, false)
	require.NoError(t, err)
	assert.Same(t, b, c)
}
