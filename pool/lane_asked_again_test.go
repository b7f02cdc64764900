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

	"github.com/lmipool/lmipool/pool"
)

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
