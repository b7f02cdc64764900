package pool

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

// Whoever has connections leaves what comes free to those who have none.
func TestAPoolWithoutAConnectionTriesAgainSooner(t *testing.T) {
	t.Parallel()
	full := lack{err: &pgconn.PgError{Code: "53300"}, full: true}
	d := newDesk(t, 3)
	rest := func(failures int) time.Duration {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failures, d.lack = failures, full
		return d.restLocked()
	}
	for range 100 {
		assert.InDelta(t, 150*time.Millisecond, rest(1), float64(50*time.Millisecond))
		assert.InDelta(t, 600*time.Millisecond, rest(20), float64(200*time.Millisecond))
	}
	d.mu.Lock()
	d.lack = lack{}
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
	d.dialFailed(&pgconn.PgError{Code: "53300"}, lack{err: ErrServerFull, full: true}, time.Now())
	assert.Equal(t, 5, d.stat().queued)
	began := time.Now()
	select {
	case <-d.dials:
	case <-d.ctx.Done():
		t.Fatal("nobody dials again")
	}
	assert.Greater(t, time.Since(began), leastIfFull/3)
	assert.Equal(t, 1, d.stat().constructing)
	assert.Empty(t, d.dials)
	d.dialed(&conn{})
	d.mu.Lock()
	defer d.mu.Unlock()
	assert.Zero(t, d.lack)
	assert.Greater(t, time.Until(d.notBefore), time.Duration(0), "the next is for others")
	assert.Zero(t, d.dialing)
}
