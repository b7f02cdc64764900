package lmipool_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// Two invocations, each with one of two connections and wanting the other, while a
// third works in the same handler: it is not taken for one who could give one back.
func TestHandlersThatWaitForEachOtherAreToldApartFromThoseThatWork(t *testing.T) {
	t.Parallel()
	db, err := lmipool.OpenIn(t.Context(), managed("4"), pgtest.Database(t),
		&lmipool.Config{Config: pool.Config{MaxConns: 2, MinConns: 2, Logger: (&logged{}).logger()}})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	require.NoError(t, db.Warm(bounded(t)))
	require.Eventually(t, func() bool { return db.Stat().IdleConns() == 2 }, 5*time.Second, time.Millisecond)

	over := make(chan struct{})
	var both sync.WaitGroup
	both.Add(2)
	h := lmipool.Handler(db, func(ctx context.Context, works bool) (bool, error) {
		if works {
			for {
				select {
				case <-over:
					return true, nil
				default: // on and on
					time.Sleep(time.Millisecond)
				}
			}
		}
		tx, err := db.Begin(ctx)
		if err != nil {
			return false, err
		}
		defer tx.Rollback(ctx)
		both.Done()
		both.Wait()
		_, err = db.Exec(ctx, "select 1")
		return false, err
	})
	var working, waiting sync.WaitGroup
	for range 3 {
		working.Go(func() { _, err := h(bounded(t), true); assert.NoError(t, err) })
	}
	errs := make([]error, 2)
	start := time.Now()
	for i := range errs {
		waiting.Go(func() { _, errs[i] = h(bounded(t), false) })
	}
	waiting.Wait()
	t.Logf("after %v: %v", time.Since(start), errors.Join(errs...))
	close(over)
	working.Wait()
	require.ErrorIs(t, errors.Join(errs...), pool.ErrNestedAcquire)
	assert.True(t, errs[0] == nil || errs[1] == nil, "the other got its connection")
}

func TestInTxIsThePoolsOwn(t *testing.T) {
	t.Parallel()
	db := open(t, &logged{})
	ctx := bounded(t)
	_, err := db.Exec(ctx, "create table t (n int)")
	require.NoError(t, err)
	no := errors.New("no")
	for _, want := range []error{nil, no} {
		err := lmipool.InTx(ctx, db, lmipool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into t values ($1)", 1); err != nil {
				return err
			}
			return want
		})
		require.ErrorIs(t, err, want)
	}
	var n int
	require.NoError(t, db.QueryRow(ctx, "select count(*) from t").Scan(&n))
	assert.Equal(t, 1, n)
}
