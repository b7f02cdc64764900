package lmipool_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
)

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

// The stacks that the pool shows have none of the library's frames in them, so that InTx is known by its name there.
func TestNoFrameIsInTxs(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := open(t, log)
	require.NoError(t, lmipool.InTx(bounded(t), db, lmipool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
		_, err := db.Exec(ctx, "select 'outside', $1::int", 1)
		return err
	}))
	stack, _ := log.line(t, "the ctx of a transaction's function")["used_at"].([]any)
	require.GreaterOrEqual(t, len(stack), 2, "the function, and who called InTx")
	for _, frame := range stack[:2] {
		assert.Contains(t, frame, "lmipool_test.TestNoFrameIsInTxs")
	}
}
