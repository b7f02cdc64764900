package pool_test

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// Of many first callers of one text far from the server a few go alone, although the first run, which prepares it, takes twice as long as others.
func TestColdCallersRide(t *testing.T) {
	t.Parallel()
	const callers, tries = 1024, 5 // a machine that stands still for long has the text look slow to all
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	proxy := newProxy(t, dsn)
	proxy.SetRoundTrip(10 * time.Millisecond)
	for try := range tries {
		p, err := pool.New(ctx, dsn, &pool.Config{MaxConns: 2, BeforeConnect: through(proxy)})
		require.NoError(t, err)
		began := time.Now()
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				var got int
				assert.NoError(t, p.QueryRow(ctx, "select $1::int8 + 1", i).Scan(&got))
				assert.Equal(t, i+1, got)
			})
		}
		wg.Wait()
		s := p.Stat().Lanes()
		t.Logf("%d callers were answered in %v: %d rode in %d flights, the others went alone: %v", callers, time.Since(began), s.Rides, s.Flights, s.Alone)
		p.Close()
		if s.Rides > callers*7/8 && s.Flights < callers/8 {
			return
		}
		if try == tries-1 {
			t.Error("want most to ride, 8 and more in a flight")
		}
	}
}

// Reads whose text looked slow when it became known ride once its runs are fast, and more of them at once with each that was.
func TestReadsRideOnceTheirTextIsFast(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"pg_sleep"}})
	b.p.SlowAbove(100e6)
	release := b.hold(ctx)
	var wg sync.WaitGroup
	const n = 64
	for i := range n {
		b.queued(&wg, func() {
			takes := 0.0
			if i == 0 {
				takes = 0.4
			}
			var got int
			assert.NoError(t, b.scan(ctx, &got, "select $2::int from pg_sleep($1)", takes, i))
			assert.Equal(t, i, got)
		})
	}
	release()
	wg.Wait()
	s := b.p.Stat().Lanes()
	assert.Greater(t, s.Rides, int64(n/2), "%v", s.Alone)
	assert.Less(t, s.Flights, s.Rides/3)
}

// Reads that came before anything was known of their text ride once it is known. Each is counted once.
func TestReadsThatWaitRideOnceTheirTextIsKnown(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	release := b.hold(ctx)
	var wg sync.WaitGroup
	const n = 20
	for i := range n {
		b.queued(&wg, func() {
			var got int
			assert.NoError(t, b.scan(ctx, &got, "select $1::int8 + 1", i))
			assert.Equal(t, i+1, got)
		})
	}
	release()
	wg.Wait()
	s := b.p.Stat()
	assert.Less(t, s.Lanes().Alone["new"], int64(n/2), "one is enough to find out; a few more may be served before they are asked")
	total := s.Lanes().Rides
	for _, alone := range s.Lanes().Alone {
		total += alone
	}
	assert.EqualValues(t, n, total, "%v", s.Lanes().Alone)
}

// panicsFrom is an argument whose Valuer panics from its nth call on.
type panicsFrom struct{ left *atomic.Int32 }

func (p panicsFrom) Value() (driver.Value, error) {
	if p.left.Add(-1) < 0 {
		panic("the valuer")
	}
	return int64(1), nil
}

// A waiter whose arguments panic when they are encoded because its text has become known leaves the queue, so that its turn is not a connection
// that nobody has.
func TestAValuerThatPanicsWhenItIsAskedAgainLosesNoConnection(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	release := b.hold(ctx)
	var wg sync.WaitGroup
	const sql = "select $1::int8 + 1"
	b.queued(&wg, func() { assert.NoError(t, b.scan(ctx, new(int), sql, 1)) })
	for range 3 {
		b.queued(&wg, func() {
			defer func() { _ = recover() }()
			_ = b.scan(ctx, new(int), sql, panicsFrom{&atomic.Int32{}})
		})
	}
	release()
	wg.Wait()
	require.NoError(t, b.p.Ping(ctx))
	b.idle()
	assert.Zero(t, b.p.Stat().Queued())
}

// Reads whose ctxs end while they are asked again get their own answer or the ctx's error, and leave nothing in the queue.
func TestReadsAreAskedAgainWhileTheirCtxsEnd(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	for round := range 40 {
		release := b.hold(ctx)
		var wg sync.WaitGroup
		sql := fmt.Sprintf("select $1::int8 + %d", round)
		for i := range 24 {
			wg.Go(func() {
				c, cancel := ctx, context.CancelFunc(func() {})
				if i%3 == 1 {
					c, cancel = context.WithTimeout(ctx, time.Duration(2000+i*200)*time.Microsecond)
				}
				defer cancel()
				if i%5 == 4 {
					c = pool.Alone(c)
				}
				var got int
				err := b.scan(c, &got, sql, i)
				if err == nil {
					assert.Equal(t, i+round, got)
				} else {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
				}
			})
		}
		time.Sleep(time.Duration(round%5) * time.Millisecond)
		release()
		wg.Wait()
	}
	b.idle()
	s := b.p.Stat()
	assert.Zero(t, s.AcquiredConns())
	assert.Zero(t, s.Queued())
}

func (b *laneLab) idle() {
	b.t.Helper()
	eventually(b.t, "all is idle", func() bool { s := b.p.Stat(); return s.IdleConns() == s.TotalConns() && s.AcquiredConns() == 0 })
}
