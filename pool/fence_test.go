package pool

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWhatWasDialedBeforeAFenceIsBehindIt(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5)
	held, idle := d.open(), &conn{}
	d.queue(false)
	<-d.dials
	under := &conn{fences: d.fenceCount()} // a dial that goes on meanwhile
	d.mu.Lock()
	d.conns[idle], d.idle = struct{}{}, []*conn{idle}
	d.mu.Unlock()

	taken, first := d.fence(held)
	assert.Equal(t, []*conn{idle}, taken)
	assert.True(t, first)
	_, first = d.fence(idle)
	assert.False(t, first, "it is known")
	assert.True(t, held.fenced.Load())
	d.dialed(under)
	assert.True(t, under.fenced.Load())
	after := &conn{fences: d.fenceCount()}
	d.mu.Lock()
	d.dialing++
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
	d.failures, d.lack = 20, lack{err: ErrServerAway}
	assert.Greater(t, d.restLocked(), mostRest/2-1)
	c.fenced.Store(true)
	assert.LessOrEqual(t, d.restLocked(), mostIfAway)
	d.notBefore = time.Now().Add(mostRest)
	d.hurryLocked(time.Now())
	assert.LessOrEqual(t, time.Until(d.notBefore), mostIfAway)
}
