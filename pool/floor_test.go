package pool

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// In these tests every idle connection has been idle for too long, and
// housekeeping is the test's.

func TestMinConnsOutliveTheirIdleTime(t *testing.T) {
	t.Parallel()
	ctx, p := newQuietPool(t, Config{MaxConns: 4, MinConns: 2, MaxConnIdleTime: time.Nanosecond, HealthCheckPeriod: time.Hour})
	var leases []*Lease
	for range 3 {
		l, err := p.Acquire(ctx)
		require.NoError(t, err)
		leases = append(leases, l)
	}
	for _, l := range leases {
		l.Release()
	}
	opened := p.Stat().NewConnsCount()
	assert.GreaterOrEqual(t, opened, int64(3))
	for range 2 {
		p.topUp()
		p.closeSurplus()
		assert.EqualValues(t, 2, p.Stat().IdleConns())
	}
	assert.Equal(t, opened-2, p.Stat().MaxIdleDestroyCount())
	assert.Equal(t, opened, p.Stat().NewConnsCount())
}

func TestMinIdleConnsOutliveTheirIdleTime(t *testing.T) {
	t.Parallel()
	ctx, p := newQuietPool(t, Config{MaxConns: 4, MinIdleConns: 2, MaxConnIdleTime: time.Nanosecond, HealthCheckPeriod: time.Hour})
	idle := func(n int32) {
		t.Helper()
		require.Eventually(t, func() bool { return p.Stat().IdleConns() == n }, 30*time.Second, time.Millisecond)
	}
	require.NoError(t, p.Warm(ctx))
	idle(2)
	for range 2 {
		p.topUp()
		p.closeSurplus()
		assert.EqualValues(t, 2, p.Stat().IdleConns(), "two are kept")
	}
	a, err := p.Acquire(ctx)
	require.NoError(t, err)
	b, err := p.Acquire(ctx)
	require.NoError(t, err)
	p.topUp()
	idle(2) // two others, beside those that are out
	a.Release()
	b.Release()
	for range 2 {
		p.topUp()
		p.closeSurplus()
		assert.EqualValues(t, 2, p.Stat().IdleConns(), "of four, two are kept")
	}
	assert.EqualValues(t, 2, p.Stat().MaxIdleDestroyCount())
	assert.EqualValues(t, 4, p.Stat().NewConnsCount())
}
