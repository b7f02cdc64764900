package pool_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// The head of the queue decides what a free connection does: a lease gets it, a read
// takes along as many reads as fit, from wherever they stand.
func TestLanesAndLeasesShareOneOrderOfArrival(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	const sql = "select 40 + $1::int"
	b.teach(ctx, sql, 2)

	var mu sync.Mutex
	var flown []int64 // rides, when each lease got the connection
	at := func(what string, n int) func() {
		return func() {
			if what == "lease" {
				l, err := b.p.Acquire(ctx)
				require.NoError(t, err)
				mu.Lock()
				flown = append(flown, b.p.Stat().Lanes().Rides)
				mu.Unlock()
				l.Release()
				return
			}
			assert.NoError(t, b.scan(ctx, new(int), sql, n))
		}
	}
	fs := []func(){at("lease", 0)}
	for range 40 {
		fs = append(fs, at("before", 0))
	}
	fs = append(fs, at("lease", 0), at("after", 0), at("after", 0), at("lease", 0), at("after", 0))
	b.together(ctx, fs...)
	// Arrival: one lease, 40 reads, lease, 2 reads, lease, read. So: the lease; 32
	// reads; the other 8 and the 3 behind the leases; the two leases.
	s := b.p.Stat()
	assert.EqualValues(t, 2, s.Lanes().Flights)
	assert.EqualValues(t, 43, s.Lanes().Rides)
	assert.Equal(t, []int64{0, 43, 43}, flown)
}

// Neither kind starves behind a steady stream of the other.
func TestNeitherLanesNorLeasesStarve(t *testing.T) {
	t.Parallel()
	for _, steady := range []string{"reads", "leases"} {
		ctx := bounded(t)
		b := newLaneLab(t, nil)
		const sql = "select 40 + $1::int"
		b.teach(ctx, sql, 2)
		read := func() { assert.NoError(t, b.scan(ctx, new(int), sql, 1)) }
		lease := func() {
			assert.NoError(t, b.p.AcquireFunc(ctx, func(l *pool.Lease) error { return l.Ping(ctx) }))
		}
		stream, few := read, lease
		if steady == "leases" {
			stream, few = lease, read
		}
		var stop atomic.Bool
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for !stop.Load() {
					stream()
				}
			})
		}
		for range 50 {
			few() // or the ctx ends, and the test fails
		}
		stop.Store(true)
		wg.Wait()
	}
}

// What a write has returned, the next read of the same caller sees.
func TestReadsOnLanesSeeTheCallersWrites(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t as select id, 0 as n from generate_series(1, 16) id")
	const sql = "select n from t where id = $1"
	b.teach(ctx, sql, 1)
	var wg sync.WaitGroup
	for id := range 16 {
		wg.Go(func() {
			for i := 1; i <= 30; i++ {
				_, err := b.p.Exec(ctx, "update t set n = $2 where id = $1", id+1, i)
				assert.NoError(t, err)
				var n int
				assert.NoError(t, b.scan(ctx, &n, sql, id+1))
				assert.Equal(t, i, n)
			}
		})
	}
	wg.Wait()
	assert.Greater(t, b.p.Stat().Lanes().Rides, int64(50))
}
