package lmipool_test

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lmitest"
)

// panicsAmong64 has one invocation panic for each kind among 64 that are in flight
// together, and returns the error replies. The others must be right.
func panicsAmong64(t *testing.T, f *lmitest.Function, kinds []string, neighbour task) map[string]*lmitest.FunctionError {
	t.Helper()
	ctx := bounded(t)
	replies := map[string]*lmitest.FunctionError{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if i < len(kinds) {
				r, _ := ask[outcome](ctx, t, f, task{Do: "panic", Hold: kinds[i], Together: 64})
				mu.Lock()
				replies[kinds[i]] = r.Error
				mu.Unlock()
				return
			}
			do := neighbour
			do.N, do.Together = i, 64
			r, o := ask[outcome](ctx, t, f, do)
			if assert.Nil(t, r.Error) && do.Do == "answer" {
				assert.Equal(t, 2*i, o.N)
			}
		})
	}
	wg.Wait()
	return replies
}

// ofTheHandler is the error's JSON, its stack from the panic to the handler's own
// function. Further out the frames necessarily differ, because there lmipool's
// goroutine called the handler, and not aws-lambda-go by reflection; further in
// aws-lambda-go shows two frames of its own, of the function that recovered.
func ofTheHandler(t *testing.T, e *lmitest.FunctionError) string {
	t.Helper()
	var r messages.InvokeResponse_Error
	require.NoError(t, json.Unmarshal(e.Raw, &r))
	label := func(want string) func(*messages.InvokeResponse_Error_StackFrame) bool {
		return func(f *messages.InvokeResponse_Error_StackFrame) bool { return f.Label == want }
	}
	if i := slices.IndexFunc(r.StackTrace, label("gopanic")); i >= 0 {
		r.StackTrace = r.StackTrace[i:]
	}
	if i := slices.IndexFunc(r.StackTrace, label("(*bulkheadChild).handle")); i >= 0 {
		r.StackTrace = r.StackTrace[:i+1]
	}
	text, err := json.Marshal(r)
	require.NoError(t, err)
	return string(text)
}

func TestTenPanicsAmong64AreTheRepliesOfAwsLambdaGoAndTheProcessLives(t *testing.T) {
	t.Parallel()
	f, _ := function(t, "CHILD=bulkhead")
	got := panicsAmong64(t, f, panics, task{Do: "answer", For: 200 * time.Millisecond})
	assert.Zero(t, f.Stats().Exits)
	assert.Equal(t, 1, f.Stats().Starts)

	bare, _ := function(t, "CHILD=bare")
	want := panicsAmong64(t, bare, panics, task{Do: "nothing"})
	require.NoError(t, bare.Wait(bounded(t), func(s lmitest.Stats) bool { return s.Exits == 1 }), "without lmipool the process ends")

	for _, kind := range panics {
		require.NotNil(t, got[kind], kind)
		require.NotNil(t, want[kind], kind)
		assert.Equal(t, ofTheHandler(t, want[kind]), ofTheHandler(t, got[kind]), kind)
		if !strings.HasPrefix(kind, "reply") {
			assert.Equal(t, "gopanic", got[kind].StackTrace[0].Label, kind)
			assert.Contains(t, ofTheHandler(t, got[kind]), `"label":"(*bulkheadChild).handle"}]`, kind)
		}
	}
	s := f.Stats()
	t.Logf("%d invocations: %d right, %d error replies, %d exits", s.Invocations, s.Invocations-s.FunctionErrors, s.FunctionErrors, s.Exits)
	t.Logf("such as %s", ofTheHandler(t, got["nil map"]))
}

func TestAReplyThatTheUserPanicsWithDecidesWhetherTheProcessEnds(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	f, _ := function(t, "CHILD=bulkhead")
	r, _ := ask[outcome](ctx, t, f, task{Do: "panic", Hold: "reply"})
	require.NotNil(t, r.Error)
	assert.JSONEq(t, `{"errorMessage":"no such order","errorType":"NotFound"}`, string(r.Error.Raw))
	_, o := ask[outcome](ctx, t, f, task{Do: "answer", N: 1})
	assert.Equal(t, 2, o.N)
	assert.Zero(t, f.Stats().Exits)
	r, _ = ask[outcome](ctx, t, f, task{Do: "panic", Hold: "reply and exit"})
	require.NotNil(t, r.Error)
	assert.JSONEq(t, `{"errorMessage":"the end","errorType":"Fatal"}`, string(r.Error.Raw))
	require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Exits == 1 }))
}

func TestAHandlerThatExitsItsGoroutineIsAnErrorReply(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	f, _ := function(t, "CHILD=bulkhead")
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			r, _ := ask[outcome](ctx, t, f, task{Do: "panic", Hold: "goexit", Together: 64})
			if assert.NotNil(t, r.Error) {
				assert.Equal(t, "GoexitError", r.Error.Type)
			}
		})
	}
	wg.Wait()
	// All 64 loops live: Goexit there would have ended them silently.
	require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Idle == 64 }))
	_, o := ask[outcome](ctx, t, f, task{Do: "answer", N: 1})
	assert.Equal(t, 2, o.N)
	assert.Zero(t, f.Stats().Exits)
	assert.Zero(t, f.Stats().Timeouts)
}

func TestWithPanicExitTheProcessEndsAsWithoutLmipool(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	f, stderr := function(t, "CHILD=bulkhead", "LMIPOOL_CATCH_PANICS=off")
	var wg sync.WaitGroup
	wg.Go(func() { // it is finished
		r, o := ask[outcome](ctx, t, f, task{Do: "answer", N: 21, Together: 2, For: 500 * time.Millisecond})
		assert.Nil(t, r.Error)
		assert.Equal(t, 42, o.N)
	})
	r, _ := ask[outcome](ctx, t, f, task{Do: "panic", Hold: "custom type", Together: 2})
	require.NotNil(t, r.Error)
	assert.Equal(t, "boom", r.Error.Type)
	assert.Equal(t, "{7}", r.Error.Message)
	wg.Wait()
	require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Exits == 1 && s.Ready == 1 }))
	assert.Equal(t, "exit status 1", f.Stats().LastExit.State)
	assert.NotContains(t, stderr(), "standing down")
	_, o := ask[outcome](ctx, t, f, task{Do: "answer", N: 1})
	assert.Equal(t, 2, o.N)
}
