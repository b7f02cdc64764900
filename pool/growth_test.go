package pool_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

func TestOneWaiterBehindALongHoldGetsAConnectionSoon(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 2})
	l, err := p.Acquire(ctx) // outside a scope, and for ever
	require.NoError(t, err)
	defer l.Release()
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	require.NoError(t, p.Ping(short))
	assert.EqualValues(t, 2, p.Stat().NewConnsCount())
}

func TestManyLongHoldsReachMaxConns(t *testing.T) {
	t.Parallel()
	const holders, most, hold = 64, 16, 200 * time.Millisecond
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: most})
	var out atomic.Int32
	reached, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	together(holders, func(int) {
		for reached.Err() == nil {
			err := p.AcquireFunc(ctx, func(*pool.Lease) error {
				defer out.Add(-1)
				if out.Add(1) == most {
					cancel()
				}
				select {
				case <-time.After(hold):
				case <-reached.Done():
				}
				return nil
			})
			if !assert.NoError(t, err) {
				return
			}
		}
	})
	assert.EqualValues(t, most, p.Stat().NewConnsCount())
	t.Logf("%d connections after %s", most, time.Since(began))
	assert.Less(t, time.Since(began), 5*time.Second)
}

// The first dial hangs; the second, which the wait for it is worth, does not.
func TestAHangingFirstDialDoesNotHoldThePoolUp(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	hung := hangingDials(t, 0)
	var dials atomic.Int32
	p := newPool(t, &pool.Config{MaxConns: 4, ConnectTimeout: time.Hour, BeforeConnect: func(ctx context.Context, c *pgx.ConnConfig) error {
		if dials.Add(1) == 1 {
			return hung(ctx, c)
		}
		return nil
	}})
	together(4, func(int) { assert.NoError(t, p.Ping(ctx)) })
	assert.EqualValues(t, 1, p.Stat().ConstructingConns(), "the first hangs still")
}
