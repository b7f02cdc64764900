package pool_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// onceOnly is a rewriter of the user's: it makes another text each time, and may use the connection.
type onceOnly struct {
	calls *int
	sends string
}

func (r onceOnly) RewriteQuery(ctx context.Context, c *pgx.Conn, sql string, args []any) (string, []any, error) {
	*r.calls++
	if r.sends != "" {
		if _, err := c.Exec(ctx, r.sends); err != nil {
			return "", nil, err
		}
	}
	if *r.calls > 1 {
		return "select -1", nil, nil
	}
	return sql + " + $1::int", args, nil
}

// A rewriter is asked once for each statement, wherever it runs, and what its text leaves is known: no reset.
func TestARewriterIsAskedOnce(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1})
	type querier interface {
		QueryRow(context.Context, string, ...any) pgx.Row
	}
	ask := func(on querier, args ...any) {
		calls, n := 0, 0
		require.NoError(t, on.QueryRow(ctx, "select 40", append(args, onceOnly{calls: &calls}, 2)...).Scan(&n))
		assert.Equal(t, 42, n)
		assert.Equal(t, 1, calls)
	}
	ask(p)
	eventually(t, "it was looked at", func() bool { return p.Stat().IdleConns() == 1 })
	resets := p.Stat().Invocations().Resets
	for range 5 {
		ask(p)
		ask(p, pgx.QueryExecModeExec)
		require.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) error { ask(l); return nil }))
		require.NoError(t, pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error { ask(tx); return nil }))
		ask(p.With(map[string]string{"app.x": "y"}))
	}
	assert.Equal(t, resets, p.Stat().Invocations().Resets)
}

// What a rewriter sends itself leaves nothing.
func TestWhatARewriterSendsLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1})
	for _, sends := range []string{"select set_config('app.x', 'left', false)", "set app.x = 'left'", "prepare x as select 1"} {
		calls, n := 0, 0
		require.NoError(t, p.QueryRow(ctx, "select 40", onceOnly{&calls, sends}, 2).Scan(&n))
		var left string
		require.NoError(t, p.QueryRow(ctx, "select coalesce(current_setting('app.x', true), '') || (select count(*) from pg_prepared_statements where from_sql)").Scan(&left))
		assert.Equal(t, "0", left, sends)
	}
}
