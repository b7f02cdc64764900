package pool_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// At twice the capacity most of it is answered in time, where first in, first out answers nothing, and whoever is not hears of it with the numbers.
func TestTwiceTheCapacityIsMostlyAnsweredInTime(t *testing.T) {
	const conns, service, within, lasts = 4, 20 * time.Millisecond, 500 * time.Millisecond, 4 * time.Second
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: conns, MinConns: conns})
	together(conns, func(int) { // warm, and the pool knows what a statement takes
		for range 10 {
			_, err := p.Exec(ctx, "select pg_sleep(0.02)")
			assert.NoError(t, err)
		}
	})
	var done, refused, atOnce, canceled, late atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for i := 0; time.Since(began) < lasts; i++ {
		time.Sleep(time.Until(began.Add(time.Duration(i) * service / conns / 2)))
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, within)
			defer cancel()
			asked := time.Now()
			_, err := p.Exec(ctx, "select pg_sleep(0.02)")
			no, acquire := &pool.NoTimeError{}, &pool.AcquireError{}
			switch {
			case err == nil && time.Since(asked) > within+within/2: // a busy machine may be late by itself
				late.Add(1)
			case err == nil:
				done.Add(1)
			case errors.As(err, &no):
				refused.Add(1)
				assert.ErrorIs(t, err, pool.ErrNoTime)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.True(t, pgconn.Timeout(err))
				assert.True(t, pool.Retryable(err))
				assert.False(t, pool.OutcomeUnknown(err))
				assert.ErrorAs(t, err, &acquire)
				assert.Positive(t, no.ExpectedService)
				if time.Since(asked) < within/4 {
					atOnce.Add(1)
					assert.Positive(t, no.Waiting)
					assert.Positive(t, no.ExpectedWait)
					assert.Positive(t, no.Left)
				}
			default:
				canceled.Add(1)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	good := float64(done.Load()) * service.Seconds() / (conns * took.Seconds())
	t.Logf("in %v: %d in time (%.2f of the capacity), %d refused, %d of them at once, %d otherwise, %d late; %+v", took.Round(time.Millisecond), done.Load(), good, refused.Load(), atOnce.Load(), canceled.Load(), late.Load(), p.Stat().Cancels())
	assert.Greater(t, good, 0.5, "of the capacity")
	assert.Zero(t, late.Load())
	assert.Greater(t, atOnce.Load(), refused.Load()/2, "most hear of it at once")
	assert.Less(t, canceled.Load(), done.Load()/4+1)
	assert.Equal(t, refused.Load(), p.Stat().RefusedCount())
	require.Eventually(t, func() bool { return !p.Stat().Pressed() && p.Stat().Queued() == 0 }, 10*time.Second, 10*time.Millisecond)
	assert.NoError(t, p.Ping(ctx), "pressure is over")
}

// Of two callers who wait, the later one is served first: its invocation holds a connection, for which the others wait.
func TestWhoHoldsAConnectionIsServedFirst(t *testing.T) {
	t.Parallel()
	for _, hold := range []struct {
		name  string
		begin func(context.Context, *pool.Pool) (end func())
	}{
		{"lease", func(ctx context.Context, p *pool.Pool) func() {
			l, err := p.Acquire(ctx)
			require.NoError(t, err)
			return l.Release
		}},
		{"transaction", func(ctx context.Context, p *pool.Pool) func() {
			tx, err := p.Begin(ctx)
			require.NoError(t, err)
			return func() { _ = tx.Rollback(ctx) }
		}},
		{"rows", func(ctx context.Context, p *pool.Pool) func() {
			rows, err := p.Query(ctx, "select generate_series(1, 100000)")
			require.NoError(t, err)
			return rows.Close
		}},
	} {
		ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 2})
		inside, scope := p.OpenScope(ctx, "holds", time.Time{})
		other, err := p.Acquire(ctx)
		require.NoError(t, err)
		end := hold.begin(inside, p)
		got := make(chan string, 2)
		ask := func(ctx context.Context, who string) {
			queued := p.Stat().Queued()
			go func() {
				l, err := p.Acquire(ctx)
				if assert.NoError(t, err) {
					got <- who
					l.Release()
				}
			}()
			require.Eventually(t, func() bool { return p.Stat().Queued() > queued }, 10*time.Second, time.Millisecond)
		}
		ask(ctx, "first")
		ask(inside, "holder")
		other.Release()
		assert.Equal(t, "holder", <-got, hold.name)
		assert.Equal(t, "first", <-got, hold.name)
		end()
		scope.End()
	}
}

// The same with the ctx of an InTx's function, without an invocation.
func TestWhoAsksInsideATransactionIsServedFirst(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 2})
	other, err := p.Acquire(ctx)
	require.NoError(t, err)
	got := make(chan string, 2)
	err = pool.InTx(ctx, p, pool.TxOptions{}, func(inside context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(inside, "select"); err != nil {
			return err
		}
		go func() {
			l, err := p.Acquire(ctx)
			if assert.NoError(t, err) {
				got <- "first"
				l.Release()
			}
		}()
		require.Eventually(t, func() bool { return p.Stat().Queued() == 1 }, 10*time.Second, time.Millisecond)
		go func() {
			for p.Stat().Queued() < 2 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			other.Release()
		}()
		l, err := p.Acquire(inside)
		if err == nil {
			got <- "inside"
			l.Release()
		}
		return err
	})
	require.NoError(t, err)
	assert.Equal(t, "inside", <-got)
	assert.Equal(t, "first", <-got)
}

func TestMaxWaitAndMaxQueueBoundTheQueue(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, MaxWait: 300 * time.Millisecond, MaxQueue: 2})
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	defer l.Release()
	began, ends := time.Now(), make(chan error, 2)
	for range 2 {
		go func() { ends <- p.Ping(context.Background()) }()
	}
	require.Eventually(t, func() bool { return p.Stat().Queued() == 2 || time.Since(began) > 200*time.Millisecond }, 10*time.Second, time.Millisecond)
	if p.Stat().Queued() == 2 {
		no := &pool.NoTimeError{}
		require.ErrorAs(t, p.Ping(ctx), &no)
		assert.Equal(t, 2, no.Waiting)
		assert.Contains(t, no.Error(), "lmipool: as many callers wait as MaxQueue lets: 2 wait, ")
	}
	for range 2 {
		err := <-ends
		assert.ErrorIs(t, err, pool.ErrNoTime)
		assert.ErrorContains(t, err, ": MaxWait is over: ")
	}
	assert.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond)
}

// One key has 200 callers, another has one: it is answered.
func TestANoisyKeyDoesNotPushOutAnother(t *testing.T) {
	type key struct{}
	asked := atomic.Int64{}
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 4, FairBy: func(ctx context.Context) string {
		asked.Add(1)
		whose, _ := ctx.Value(key{}).(string)
		return whose
	}})
	call := func(whose string) error {
		ctx, cancel := context.WithTimeout(context.WithValue(ctx, key{}, whose), 500*time.Millisecond)
		defer cancel()
		_, err := p.Exec(ctx, "select pg_sleep(0.02)")
		return err
	}
	require.NoError(t, p.Ping(ctx))
	before := asked.Load()
	for range 5 {
		require.Eventually(t, func() bool { return p.Stat().IdleConns() > 0 }, 10*time.Second, time.Millisecond)
		require.NoError(t, p.Ping(ctx))
	}
	assert.Equal(t, before, asked.Load(), "nobody has to wait")
	var noisy, refused atomic.Int64
	stop := time.Now().Add(4 * time.Second)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			for time.Now().Before(stop) {
				if call("noisy") == nil {
					noisy.Add(1)
				} else {
					refused.Add(1)
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	time.Sleep(time.Second)
	good, calls := 0, 0
	for ; time.Now().Before(stop.Add(-500 * time.Millisecond)); calls++ {
		if call("quiet") == nil {
			good++
		}
		time.Sleep(30 * time.Millisecond)
	}
	all.Wait()
	t.Logf("quiet: %d of %d; noisy: %d, refused %d", good, calls, noisy.Load(), refused.Load())
	assert.GreaterOrEqual(t, good, calls*3/4)
	assert.Positive(t, refused.Load())
}
