package lmipool_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/observe"
)

// watcher hears of what Handler does.
type watcher struct {
	mu   sync.Mutex
	seen []any
}

func (w *watcher) add(e any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, e)
}

func (w *watcher) ObserveOverrun(_ context.Context, e observe.Overrun)       { w.add(e) }
func (w *watcher) ObservePanic(_ context.Context, e observe.Panic)           { w.add(e) }
func (w *watcher) ObserveStandDown(_ context.Context, e observe.StandDown)   { w.add(e) }
func (w *watcher) ObserveInvocation(_ context.Context, e observe.Invocation) { w.add(e) }

// What Handler does is told with the invocation's request id; what led to the end is one line of the log.
func TestObserversHearOfHandlers(t *testing.T) {
	t.Parallel()
	log, w := &logged{}, &watcher{}
	db := openManaged(t, log, lmipool.Config{Observers: []any{w}, MaxOverruns: 1, MaxPanics: 1})
	assert.Equal(t, []any{w}, db.Config().Observers, "what was given")
	panics := lmipool.Handler(db, func(ctx context.Context, in int) (observe.Usage, error) {
		_, err := db.Exec(ctx, "select 1")
		require.NoError(t, err)
		if in > 0 {
			panic("boom")
		}
		return lmipool.Usage(ctx), nil
	})
	u, err := panics(lambdacontext.NewContext(deadline(t, time.Minute), &lambdacontext.LambdaContext{AwsRequestID: "r0"}), 0)
	require.NoError(t, err)
	assert.Equal(t, 1, u.Statements)
	_, err = panics(lambdacontext.NewContext(deadline(t, time.Minute), &lambdacontext.LambdaContext{AwsRequestID: "r1"}), 1)
	require.ErrorContains(t, err, "boom")
	hangs := lmipool.Handler(db, hanging[int](t))
	for _, id := range []string{"r2", "r3"} {
		_, err = hangs(lambdacontext.NewContext(deadline(t, 300*time.Millisecond), &lambdacontext.LambdaContext{AwsRequestID: id}), 0)
		require.Error(t, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	told := map[string]int{}
	for _, e := range w.seen {
		switch e := e.(type) {
		case observe.Invocation:
			told["invocation "+e.RequestID]++
		case observe.Panic:
			told["panic "+e.RequestID]++
			assert.Equal(t, "a handler", e.In)
			assert.Equal(t, "boom", e.Value)
			assert.Contains(t, strings.Join(e.Place, "\n"), "tell_test.go")
		case observe.Overrun:
			told["overrun "+e.RequestID]++
			assert.False(t, e.At.Before(e.Start))
			assert.Equal(t, told["overrun r2"]+told["overrun r3"], e.Overrunning)
		case observe.StandDown:
			told["stand-down "+e.Why]++
			assert.Equal(t, 2, e.Number)
		}
	}
	assert.Equal(t, map[string]int{
		"invocation r0": 1, "invocation r1": 1, "invocation r2": 1, "invocation r3": 1, "panic r1": 1, "overrun r2": 1, "overrun r3": 1, "stand-down overruns": 1,
	}, told)
	assert.Eventually(t, func() bool {
		return strings.Contains(log.text(), "the last events") && strings.Contains(log.text(), "standing down")
	}, time.Minute, time.Millisecond)
}
