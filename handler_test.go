package lmipool_test

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

func open(t *testing.T, log *logged) *lmipool.Pool {
	t.Helper()
	db, err := lmipool.OpenIn(t.Context(), managed("4"), pgtest.Database(t), &lmipool.Config{Logger: log.logger()})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

func TestHandlerEndsWhatItsInvocationHolds(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := open(t, log)
	var kept *pool.Lease
	var keptCtx context.Context
	h := lmipool.Handler(db, func(ctx context.Context, in int) (int, error) {
		l, err := db.Acquire(ctx)
		kept, keptCtx = l, ctx
		return in * 2, err
	})
	ctx := lambdacontext.NewContext(bounded(t), &lambdacontext.LambdaContext{AwsRequestID: "8f3a"})
	out, err := h(ctx, 21)
	require.NoError(t, err)
	assert.Equal(t, 42, out)
	assert.Error(t, keptCtx.Err())
	_, err = kept.Exec(ctx, "select 1")
	assert.ErrorIs(t, err, pool.ErrInvocationEnded)
	_, err = db.Exec(context.WithoutCancel(keptCtx), "select 1")
	assert.ErrorIs(t, err, pool.ErrInvocationEnded)
	_, err = db.Exec(ctx, "select 1")
	assert.NoError(t, err, "a ctx without a scope always works")
	line := log.line(t, "the invocation ended with a lease still held")
	assert.Equal(t, "8f3a", line["requestId"])
	assert.Contains(t, line["acquired_at"].([]any)[0], "handler_test.go")
}

func TestHandlerPassesErrorsThrough(t *testing.T) {
	t.Parallel()
	db, no := open(t, &logged{}), errors.New("no")
	_, err := lmipool.Handler(db, func(context.Context, int) (int, error) { return 0, no })(bounded(t), 1)
	assert.Equal(t, no, err)
}

func TestOffManagedInstancesPanicsPassThrough(t *testing.T) {
	t.Parallel()
	db, err := lmipool.OpenIn(t.Context(), map[string]string{"AWS_LAMBDA_RUNTIME_API": "x", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"},
		pgtest.Database(t), &lmipool.Config{Logger: (&logged{}).logger()})
	require.NoError(t, err)
	defer db.Close()
	assert.PanicsWithValue(t, "boom", func() {
		lmipool.Handler(db, func(ctx context.Context, _ int) (int, error) {
			db.Begin(ctx)
			panic("boom")
		})(bounded(t), 1)
	})
	assert.NoError(t, db.Ping(bounded(t)))
	assert.EqualValues(t, 1, db.Stat().Invocations().Leaks, "the transaction of the one that panicked came back")
}

func TestHandlersNestInOneScope(t *testing.T) {
	t.Parallel()
	db, other := open(t, &logged{}), open(t, &logged{})
	var inner, outer context.Context
	h := lmipool.Handler(db, func(ctx context.Context, in int) (int, error) {
		outer = ctx
		return lmipool.Handler(other, func(ctx context.Context, in int) (int, error) {
			inner = ctx
			return in, nil
		})(ctx, in)
	})
	_, err := h(bounded(t), 1)
	require.NoError(t, err)
	assert.Equal(t, outer, inner)
	assert.ErrorIs(t, other.Ping(inner), pool.ErrInvocationEnded)
}

// embedded is how a user adds to the pool; it must keep its scopes.
type embedded struct{ *lmipool.Pool }

func TestATypeThatEmbedsThePoolHasScopesToo(t *testing.T) {
	t.Parallel()
	db := embedded{open(t, &logged{})}
	var kept context.Context
	_, err := lmipool.Handler(db, func(ctx context.Context, _ int) (int, error) { kept = ctx; return 0, nil })(bounded(t), 1)
	require.NoError(t, err)
	assert.ErrorIs(t, db.Ping(kept), pool.ErrInvocationEnded)
}
