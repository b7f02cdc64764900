package lmitest_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lmitest"
)

func TestCallRunsSixtyFourAtOnce(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	all.Add(64)
	results := lmitest.Call(t.Context(), lmitest.CallOptions{}, func(_ context.Context, i int) (int, error) {
		all.Done()
		all.Wait() // nobody returns before 64 are here
		return 2 * i, nil
	}, make([]int, 64))
	for _, r := range results {
		require.NoError(t, r.Err)
	}
}

func TestCallKeepsToItsConcurrency(t *testing.T) {
	t.Parallel()
	running := make(chan struct{}, 3)
	results := lmitest.Call(t.Context(), lmitest.CallOptions{Concurrency: 3}, func(_ context.Context, i int) (int, error) {
		select {
		case running <- struct{}{}:
			defer func() { <-running }()
			return 2 * i, nil
		default:
			return 0, errors.New("a fourth")
		}
	}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	for i, r := range results {
		require.NoError(t, r.Err)
		require.Equal(t, 2*i, r.Out)
	}
}

func TestCallGivesLambdasContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lmitest.Call(t.Context(), lmitest.CallOptions{Timeout: 5 * time.Second}, func(ctx context.Context, _ string) (string, error) {
			lc, ok := lambdacontext.FromContext(ctx)
			require.True(t, ok)
			require.Len(t, lc.AwsRequestID, 36)
			require.Contains(t, lc.InvokedFunctionArn, "arn:aws:lambda:")
			require.Contains(t, ctx.Value("x-amzn-trace-id"), "Root=1-")
			deadline, _ := ctx.Deadline()
			require.Equal(t, 5*time.Second, time.Until(deadline))
			return lc.AwsRequestID, nil
		}, []string{""})
	})
}

func TestCallReportsPanicsAndLateReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		results := lmitest.Call(t.Context(), lmitest.CallOptions{}, func(ctx context.Context, d time.Duration) (string, error) {
			if d < 0 {
				panic("as asked")
			}
			time.Sleep(d)
			return "done", ctx.Err()
		}, []time.Duration{-1, 2 * time.Second, 4 * time.Second})

		var p *lmitest.PanicError
		require.ErrorAs(t, results[0].Err, &p)
		require.Equal(t, "as asked", p.Value)
		require.Contains(t, string(p.Stack), "TestCallReportsPanicsAndLateReturns")

		require.NoError(t, results[1].Err)
		require.False(t, results[1].Late)
		require.Equal(t, 2*time.Second, results[1].Duration)

		require.ErrorIs(t, results[2].Err, context.DeadlineExceeded)
		require.True(t, results[2].Late)
	})
}

func TestCallBeginsNothingAfterItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	results := lmitest.Call(ctx, lmitest.CallOptions{Concurrency: 1}, func(ctx context.Context, _ int) (int, error) {
		cancel()
		return 1, nil
	}, []int{0, 0})
	require.NoError(t, results[0].Err)
	require.ErrorIs(t, results[1].Err, context.Canceled)
}

func TestCallReportsAHandlerThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	results := lmitest.Call(t.Context(), lmitest.CallOptions{Concurrency: 1}, func(_ context.Context, exit bool) (int, error) {
		if exit {
			runtime.Goexit()
		}
		return 1, nil
	}, []bool{true, false})
	require.ErrorContains(t, results[0].Err, "Goexit")
	require.Equal(t, 1, results[1].Out)
}
