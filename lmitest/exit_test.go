package lmitest_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
)

func TestAPanicIsAnsweredAndEndsTheProcess(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2})
	first := ask(t, f, event{}).PID
	r := invoke(t, f, event{Do: "panic"})
	require.Equal(t, "string", r.Error.Type)
	require.Equal(t, "as asked", r.Error.Message)
	require.NotEmpty(t, r.Error.StackTrace)

	s := await(t, f, func(s lmitest.Stats) bool { return s.Exits == 1 && s.Ready == 1 })
	require.Equal(t, 1, s.LastExit.Code)
	require.Equal(t, first, s.LastExit.PID)
	require.NotEqual(t, first, ask(t, f, event{}).PID)
}

// While others are still in flight the process drains, and takes no new work.
func TestAProcessThatDrainsAfterAPanicTakesNoWork(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 4, Timeout: time.Minute})
	g := newGate(t)
	neighbour := begin(t, f, event{Gate: g.address()})
	inside := g.wantWaiting(1)
	await(t, f, func(s lmitest.Stats) bool { return s.Idle == 3 }) // Start waited for the first poll only
	invoke(t, f, event{Do: "panic"})
	await(t, f, func(s lmitest.Stats) bool { return s.Idle == 0 }) // its other polls are cancelled
	began := time.Now()
	_, err := f.Invoke(t.Context(), nil)
	require.ErrorIs(t, err, lmitest.ErrThrottled)
	require.Less(t, time.Since(began), time.Second) // at once: it does not hope for a poll
	require.Zero(t, f.Stats().Exits)
	require.Zero(t, f.Stats().Ready)
	inside.pass()
	require.Nil(t, neighbour.want().Error)
	await(t, f, func(s lmitest.Stats) bool { return s.Exits == 1 && s.Ready == 1 })
}

func TestAnExitAnswersAllInFlight(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 8, Timeout: time.Minute, NoReplace: true})
	g := newGate(t)
	var calls []*call
	for range 7 {
		calls = append(calls, begin(t, f, event{Gate: g.address()}))
	}
	g.wantWaiting(7)
	calls = append(calls, begin(t, f, event{Do: "exit"}))
	for _, c := range calls {
		r := c.want()
		require.Equal(t, lmitest.TypeExit, r.Error.Type)
		require.Equal(t, "RequestId: "+r.RequestID+" Error: Runtime exited with error: exit status 3", r.Error.Message)
	}
	s := await(t, f, func(s lmitest.Stats) bool { return s.Ready == 0 })
	require.Equal(t, 1, s.Exits)
	require.Equal(t, 1, s.Starts)
	require.Equal(t, 3, s.LastExit.Code)
	_, err := f.Invoke(t.Context(), nil)
	require.ErrorIs(t, err, lmitest.ErrThrottled)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = f.Wait(ctx, func(s lmitest.Stats) bool { return s.Starts > 1 })
	require.ErrorIs(t, err, context.DeadlineExceeded, "it was replaced")
}

// A crash loop must not keep the machine busy: at once, then after 100, 200 and 400 ms.
func TestReplacementsInARowPauseLongerAndLonger(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2})
	began := time.Now()
	for i := range 4 {
		require.Equal(t, lmitest.TypeExit, invoke(t, f, event{Do: "exit"}).Error.Type)
		await(t, f, func(s lmitest.Stats) bool { return s.Exits == i+1 && s.Ready == 1 })
	}
	require.GreaterOrEqual(t, time.Since(began), 700*time.Millisecond)
}

func TestInitFailureTellsWhatTheProcessWrote(t *testing.T) {
	t.Parallel()
	_, err := lmitest.Start(t.Context(), lmitest.Config{Command: []string{os.Args[0], "init-exits"}, Environments: 2})
	var init *lmitest.InitError
	require.ErrorAs(t, err, &init)
	require.Equal(t, "exit status 4 before the first poll for work", init.Reason)
	require.Equal(t, "no database here\n", init.Output)
	require.ErrorContains(t, err, "no database here")
}

func TestInitFailureReportedByTheRuntime(t *testing.T) {
	t.Parallel()
	_, err := lmitest.Start(t.Context(), lmitest.Config{Command: []string{os.Args[0], "init-reports"}})
	var init *lmitest.InitError
	require.ErrorAs(t, err, &init)
	require.Equal(t, "Runtime.NoSuchHandler", init.Type)
	require.Equal(t, "I have no handler", init.Reason)
}

func TestInitTimesOut(t *testing.T) {
	t.Parallel()
	_, err := lmitest.Start(t.Context(), lmitest.Config{
		Command: []string{os.Args[0], "init-hangs"}, InitTimeout: 100 * time.Millisecond,
	})
	require.ErrorContains(t, err, "no poll for work within 100ms")
}

func TestStartStopsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := lmitest.Start(ctx, lmitest.Config{Command: []string{os.Args[0], "init-hangs"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestOnDemandInitFailureIsTheRequestsAnswer(t *testing.T) {
	t.Parallel()
	f := start(t, "init-exits", lmitest.Config{Kind: lambdaenv.OnDemand})
	r := invoke(t, f, event{})
	require.Equal(t, lmitest.TypeExit, r.Error.Type)
	require.Contains(t, r.Error.Message, "exit status 4")
	require.Equal(t, 1, f.Stats().InitFailures)
}
