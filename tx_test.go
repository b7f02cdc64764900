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
