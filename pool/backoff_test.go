package pool

import (
	"errors"
	"testing"
	"time"
)

func TestNobodyWaitsForTheBackOffWhenNothingIsLeft(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	first := d.queue(false)
	<-d.dials
	d.mu.Lock()
	d.failures = 7
	d.mu.Unlock()
	d.dialFailed(errors.New("no"), lack{}, time.Now()) // the next would rest for 3 s at least
	<-first
	d.queue(false)
	select {
	case <-d.dials:
	case <-time.After(time.Second):
		t.Error("a waiter with nothing to wait for got no dial")
	}
}
