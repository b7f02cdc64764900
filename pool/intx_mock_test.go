package pool_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// mock is a transaction without a connection, as pgxmock's, whose Conn panics.
type mock struct {
	pgx.Tx
	did []string
}

func (m *mock) Begin(context.Context) (pgx.Tx, error) { m.did = append(m.did, "begin"); return m, nil }

func (m *mock) Commit(context.Context) error { m.did = append(m.did, "commit"); return nil }

func (m *mock) Rollback(context.Context) error { m.did = append(m.did, "rollback"); return nil }
func (m *mock) Conn() *pgx.Conn                { panic("Conn is not available") }

func TestInTxNeedsNoConnOfSomebodyElses(t *testing.T) {
	t.Parallel()
	ctx, m := bounded(t), &mock{}
	nothing := func(context.Context, pgx.Tx) error { return nil }
	require.NoError(t, pool.InTx(ctx, m, pool.TxOptions{}, nothing))
	fails := 2
	err := pool.InTx(ctx, m, pool.TxOptions{MaxRetries: 3}, func(context.Context, pgx.Tx) error {
		if fails--; fails >= 0 {
			return &pgconn.PgError{Code: "40001"}
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"begin", "commit", "begin", "rollback", "begin", "rollback", "begin", "commit"}, m.did)
}
