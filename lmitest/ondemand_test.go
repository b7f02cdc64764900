package lmitest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
)

func TestOnDemandStartsAnEnvironmentForEachRequestAtOnce(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Kind: lambdaenv.OnDemand, Environments: 3, Timeout: time.Minute})
	require.Zero(t, f.Stats().Starts)
	g := newGate(t)
	var calls []*call
	for range 3 {
		calls = append(calls, begin(t, f, event{Gate: g.address()}))
	}
	inside := g.wantWaiting(3)
	_, err := f.Invoke(t.Context(), nil)
	require.ErrorIs(t, err, lmitest.ErrThrottled)
	require.Equal(t, 3, f.Stats().Starts)

	inside.pass()
	seen := map[int]bool{}
	for _, c := range calls {
		r := c.want()
		require.Positive(t, r.InitDuration)
		seen[r.Environment] = true
	}
	require.Len(t, seen, 3)
}

func TestOnDemandReusesAnIdleEnvironment(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Kind: lambdaenv.OnDemand, Environments: 3})
	first := ask(t, f, event{}).PID
	for range 10 {
		require.Equal(t, first, ask(t, f, event{}).PID)
	}
	require.Equal(t, 1, f.Stats().Starts)
}

func TestOnDemandAnExitedEnvironmentMakesRoom(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Kind: lambdaenv.OnDemand})
	require.Equal(t, lmitest.TypeExit, invoke(t, f, event{Do: "exit"}).Error.Type)
	ask(t, f, event{})
	require.Equal(t, 2, f.Stats().Starts)
}
