package sched

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWhatWasDialedBeforeAFenceIsBehindIt(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5)
	held, idle := d.open(), d.begun()
	d.queue(false)
	<-d.dials
	under := d.begun() // a dial that goes on meanwhile
	d.mu.Lock()
	d.core.stock.all, d.core.stock.idle = append(d.core.stock.all, idle), []*Conn{idle}
	d.mu.Unlock()

	taken, first := d.Fence(held)
	assert.Equal(t, []*Conn{idle}, taken)
	assert.True(t, first)
	_, first = d.Fence(idle)
	assert.False(t, first, "it is known")
	assert.True(t, held.fenced.Load())
	d.dialed(under)
	assert.True(t, under.fenced.Load())
	after := d.begun()
	d.mu.Lock()
	d.core.growth.dialing++
	d.mu.Unlock()
	d.dialed(after)
	assert.False(t, after.fenced.Load())
}

// Connections that nobody can get are none.
func TestAPoolWhoseConnectionsAreAllFencedDialsAsOneWithout(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 3)
	c := d.open()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.core.outage.failures, d.core.outage.lack = 20, Lack{Err: errLacks}
	assert.Greater(t, d.core.outage.rest(d.core.stock.isBare()), mostRest/2-1)
	c.fenced.Store(true)
	assert.LessOrEqual(t, d.core.outage.rest(d.core.stock.isBare()), mostIfAway)
	d.core.outage.notBefore = time.Now().Add(mostRest)
	d.core.outage.hurry(&d.core.stock, time.Now())
	assert.LessOrEqual(t, time.Until(d.core.outage.notBefore), mostIfAway)
}
