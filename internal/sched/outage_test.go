package sched

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhoHasWaitedEnoughDoesNotWaitForTheOtherDial(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	d.ctx = t.Context() // without a deadline
	d.Drop(d.open())
	d.core.outage.patience = time.Millisecond
	end := d.queue(false)
	<-d.dials
	d.mu.Lock()
	d.core.growth.dialing++ // another dial is under way, and may be for as long as it likes
	d.mu.Unlock()
	time.Sleep(AwayPatience * d.core.outage.patience)
	d.DialFailed(errLacks, Lack{Err: errLacks}, time.Now())
	select {
	case g := <-end:
		require.ErrorIs(t, g.err, errLacks)
	case <-time.After(5 * time.Second):
		t.Fatal("it waits")
	}
}

// Whoever has connections leaves what comes free to those who have none.
func TestAPoolWithoutAConnectionTriesAgainSooner(t *testing.T) {
	t.Parallel()
	full := Lack{Err: errLacks, Full: true}
	d := newDesk(t, 3)
	rest := func(failures int) time.Duration {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.core.outage.failures, d.core.outage.lack = failures, full
		return d.core.outage.rest(d.core.stock.isBare())
	}
	for range 100 {
		assert.InDelta(t, 150*time.Millisecond, rest(1), float64(50*time.Millisecond))
		assert.InDelta(t, 600*time.Millisecond, rest(20), float64(200*time.Millisecond))
	}
	d.mu.Lock()
	d.core.outage.lack = Lack{}
	d.mu.Unlock()
	d.open()
	for range 100 {
		assert.InDelta(t, 4800*time.Millisecond, rest(20), float64(1600*time.Millisecond))
	}
}

func TestAFullServerIsDialedOnceAtATimeAndAfterARest(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5)
	for range 5 {
		d.queue(false)
	}
	<-d.dials
	d.DialFailed(errLacks, Lack{Err: errLacks, Full: true}, time.Now())
	assert.Equal(t, 5, d.Stats().Queued)
	began := time.Now()
	select {
	case <-d.dials:
	case <-d.ctx.Done():
		t.Fatal("nobody dials again")
	}
	assert.Greater(t, time.Since(began), leastIfFull/3)
	assert.Equal(t, 1, d.Stats().Dialing)
	assert.Empty(t, d.dials)
	d.dialed(&Conn{})
	d.mu.Lock()
	defer d.mu.Unlock()
	assert.Zero(t, d.core.outage.lack)
	assert.Greater(t, time.Until(d.core.outage.notBefore), time.Duration(0), "the next is for others")
	assert.Zero(t, d.core.growth.dialing)
}

func TestNobodyWaitsForTheBackOffWhenNothingIsLeft(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	first := d.queue(false)
	<-d.dials
	d.mu.Lock()
	d.core.outage.failures = 7
	d.mu.Unlock()
	d.DialFailed(errors.New("no"), Lack{}, time.Now()) // the next would rest for 3 s at least
	<-first
	d.queue(false)
	select {
	case <-d.dials:
	case <-time.After(time.Second):
		t.Error("a waiter with nothing to wait for got no dial")
	}
}
