package lmitest_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lmitest"
)

// output collects what a handler writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestWithoutAnExtensionTheProcessIsKilledAtOnce(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2})
	require.NoError(t, f.Terminate(t.Context()))
	exit := f.Stats().LastExit
	require.Equal(t, "signal: killed", exit.State)
	require.Less(t, exit.After, 500*time.Millisecond)
	await(t, f, func(s lmitest.Stats) bool { return s.Ready == 1 }) // replaced
	ask(t, f, event{})
}

func TestWithEnableSIGTERMTheProcessHas600ms(t *testing.T) {
	t.Parallel()
	var out output
	f := start(t, "handler-sigterm", lmitest.Config{Concurrency: 2, Timeout: time.Minute, Stdout: &out})
	g := newGate(t)
	inFlight := begin(t, f, event{Gate: g.address()})
	g.wantWaiting(1)
	terminated := make(chan error, 1)
	go func() { terminated <- f.Terminate(context.Background()) }()
	require.Equal(t, lmitest.TypeShutDown, inFlight.want().Error.Type)
	require.Zero(t, f.Stats().Stops) // the process is still there: it will not go before 600 ms are over
	require.NoError(t, <-terminated)
	exit := f.Stats().LastExit
	require.Equal(t, "signal: killed", exit.State)
	require.GreaterOrEqual(t, exit.After, 600*time.Millisecond)
	require.Contains(t, out.String(), "SIGTERM came")
	require.Zero(t, f.Stats().Exits)
}

func TestSIGTERMWithoutACallbackEndsTheProcess(t *testing.T) {
	t.Parallel()
	f := start(t, "handler-quitting", lmitest.Config{Concurrency: 2})
	require.NoError(t, f.Terminate(t.Context()))
	require.Equal(t, "signal: terminated", f.Stats().LastExit.State)
}

func TestTerminateEndsOneEnvironmentOnly(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 1, Environments: 2, Timeout: time.Minute})
	g := newGate(t)
	calls := map[int]*call{}
	a, b := begin(t, f, event{Gate: g.address()}), begin(t, f, event{Gate: g.address()})
	inside := g.wantWaiting(2)
	require.NoError(t, f.Terminate(t.Context(), 1))
	await(t, f, func(s lmitest.Stats) bool { return s.Ready == 2 })
	inside.pass()
	for _, c := range []*call{a, b} {
		r := c.want()
		require.Equal(t, r.Environment == 1, r.Error != nil)
		calls[r.Environment] = c
	}
	require.Len(t, calls, 2)
	require.Equal(t, 1, f.Stats().Stops)
}

func TestShutdownInAHurryKillsAtOnce(t *testing.T) {
	t.Parallel()
	f := start(t, "handler-sigterm", lmitest.Config{Concurrency: 2})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.Shutdown(ctx), context.Canceled)
	s := f.Stats()
	require.Equal(t, "signal: killed", s.LastExit.State)
	require.Less(t, s.LastExit.After, 500*time.Millisecond)
	require.Zero(t, s.Ready)
}
