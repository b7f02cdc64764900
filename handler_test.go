package lmipool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	assert.Positive(t, line["held_ms"])
	assert.Less(t, line["held_ms"], 60_000.)
	assert.EqualValues(t, 1, line["count"])
}

func TestHandlerStatCountsInvocationsAndHowLongTheyTook(t *testing.T) {
	t.Parallel()
	db := open(t, &logged{})
	begun, end := make(chan struct{}), make(chan struct{})
	h := lmipool.Handler(db, func(_ context.Context, waits bool) (bool, error) {
		if waits {
			close(begun)
			<-end
		}
		return waits, nil
	})
	for range 9 {
		_, err := h(bounded(t), false)
		require.NoError(t, err)
	}
	done := make(chan error)
	go func() {
		_, err := h(bounded(t), true)
		done <- err
	}()
	<-begun
	s := db.HandlerStat()
	assert.Equal(t, 1, s.InFlight)
	assert.EqualValues(t, 9, s.Durations.Count)
	time.Sleep(110 * time.Millisecond)
	close(end)
	require.NoError(t, <-done)

	s = db.HandlerStat()
	assert.Zero(t, s.InFlight)
	assert.EqualValues(t, 10, s.Durations.Count)
	assert.Greater(t, s.Durations.Max, 100*time.Millisecond)
	assert.GreaterOrEqual(t, s.Durations.Sum, s.Durations.Max)
	var all, long int64
	bounds := lmipool.DurationBounds()
	require.Len(t, s.Durations.Buckets, len(bounds)+1)
	for i, n := range s.Durations.Buckets {
		all += n
		if i > slices.Index(bounds, 100*time.Millisecond) {
			long += n
		}
	}
	assert.EqualValues(t, 10, all)
	assert.Positive(t, long)

	text, err := json.Marshal(s)
	require.NoError(t, err)
	var numbers struct {
		InFlight  *int `json:"in_flight"`
		Durations struct {
			Count   int64   `json:"count"`
			Sum     float64 `json:"sum_ms"`
			Max     float64 `json:"max_ms"`
			Buckets []int64 `json:"buckets"`
		} `json:"durations"`
		Lateness *float64 `json:"lateness_ms"`
	}
	decode := json.NewDecoder(bytes.NewReader(text))
	require.NoError(t, decode.Decode(&numbers))
	assert.Equal(t, s.Durations.Buckets[:], numbers.Durations.Buckets)
	assert.InDelta(t, s.Durations.Max.Seconds()*1000, numbers.Durations.Max, 0.001)
	assert.InDelta(t, s.Durations.Sum.Seconds()*1000, numbers.Durations.Sum, 0.001)
	require.NotNil(t, numbers.InFlight)
	require.NotNil(t, numbers.Lateness)
}

// Many handlers that hang at one place make two lines, each with how many they were when it was written.
func TestOverrunsAtOnePlaceAreOneLine(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := openManaged(t, log, lmipool.Config{MaxOverruns: 64})
	end := make(chan struct{})
	h := lmipool.Handler(db, func(context.Context, int) (int, error) { <-end; return 0, nil })
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			ctx := lambdacontext.NewContext(deadline(t, time.Second), &lambdacontext.LambdaContext{AwsRequestID: "8f3a"})
			_, err := h(ctx, 1)
			var overrun *lmipool.OverrunError
			assert.ErrorAs(t, err, &overrun)
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { return strings.Contains(log.text(), "did not return before its deadline") }, time.Minute, time.Millisecond)
	time.Sleep(200 * time.Millisecond) // the others' time to say it
	close(end)
	require.Eventually(t, func() bool { return db.HandlerStat().Overrunning == 0 }, time.Minute, time.Millisecond)
	line := log.line(t, "a handler did not return before its deadline")
	assert.Equal(t, "8f3a", line["requestId"])
	assert.EqualValues(t, 1, line["count"])
	assert.Positive(t, line["had_ms"])
	assert.Less(t, line["had_ms"], 1000.)
	assert.Contains(t, fmt.Sprint(line["stacks"]), "handler_test.go")
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
