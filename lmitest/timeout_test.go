package lmitest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
)

// On managed instances nobody stops a handler at its deadline; its late answer ends the process.
func TestATimedOutHandlerRunsOnAndItsLateAnswerEndsTheProcess(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2, Timeout: 200 * time.Millisecond})
	g := newGate(t)
	r := invoke(t, f, event{Gate: g.address()})
	require.Equal(t, lmitest.TypeTimedOut, r.Error.Type)
	require.Contains(t, r.Error.Message, "Task timed out after 0.20 seconds")
	require.Contains(t, r.Error.Message, r.RequestID)
	require.GreaterOrEqual(t, r.Duration, 200*time.Millisecond)

	inside := g.wantWaiting(1)
	first := ask(t, f, event{}).PID // beside the one that overruns
	s := f.Stats()
	require.Equal(t, 1, s.Timeouts)
	require.Zero(t, s.Exits)

	inside.pass()
	s = await(t, f, func(s lmitest.Stats) bool { return s.Exits == 1 && s.Ready == 1 })
	require.Equal(t, 1, s.LateReplies)
	require.Equal(t, 1, s.LastExit.Code)
	require.Equal(t, first, s.LastExit.PID)
	require.Equal(t, 2, s.Starts)
	require.NotEqual(t, first, ask(t, f, event{}).PID)
}

// Its runtime is busy, though nobody waits for it.
func TestATimedOutHandlerStillTakesItsPlace(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 1, Timeout: 100 * time.Millisecond})
	g := newGate(t)
	require.Equal(t, lmitest.TypeTimedOut, invoke(t, f, event{Gate: g.address()}).Error.Type)
	_, err := f.Invoke(t.Context(), nil)
	require.ErrorIs(t, err, lmitest.ErrThrottled)
}

func TestOnDemandATimedOutEnvironmentIsReset(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Kind: lambdaenv.OnDemand, Timeout: 200 * time.Millisecond})
	g := newGate(t)
	first := ask(t, f, event{}).PID
	require.Equal(t, lmitest.TypeTimedOut, invoke(t, f, event{Gate: g.address()}).Error.Type)
	require.NotEqual(t, first, ask(t, f, event{}).PID) // waits for the reset and a new start
	g.wantWaiting(1).wantGone()
	s := f.Stats()
	require.Equal(t, 1, s.Stops)
	require.Zero(t, s.Exits)
	require.Equal(t, "signal: killed", s.LastExit.State)
}
