package lmitest_test

import (
	"context"
	"encoding/json"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lmitest"
)

// start starts a function with the test binary's program as its handler, and shuts it down after the test.
func start(t *testing.T, program string, c lmitest.Config) *lmitest.Function {
	t.Helper()
	c.Command = []string{os.Args[0], program}
	f, err := lmitest.Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Shutdown(context.Background())) })
	return f
}

func encode(t *testing.T, e event) []byte {
	t.Helper()
	b, err := json.Marshal(e)
	require.NoError(t, err)
	return b
}

// invoke wants a reply, of whatever kind.
func invoke(t *testing.T, f *lmitest.Function, e event) *lmitest.Reply {
	t.Helper()
	r, err := f.Invoke(t.Context(), encode(t, e))
	require.NoError(t, err)
	return r
}

// ask wants the handler's own answer.
func ask(t *testing.T, f *lmitest.Function, e event) answer {
	t.Helper()
	r := invoke(t, f, e)
	require.Nil(t, r.Error)
	var a answer
	require.NoError(t, json.Unmarshal(r.Payload, &a))
	return a
}

// call is an invocation in the background.
type call struct {
	t     *testing.T
	reply chan *lmitest.Reply
	err   chan error
}

func begin(t *testing.T, f *lmitest.Function, e event) *call {
	c := &call{t, make(chan *lmitest.Reply, 1), make(chan error, 1)}
	payload := encode(t, e)
	go func() {
		r, err := f.Invoke(context.Background(), payload) // ends with Shutdown at the latest
		c.reply <- r
		c.err <- err
	}()
	return c
}

func (c *call) want() *lmitest.Reply {
	c.t.Helper()
	r := <-c.reply
	require.NoError(c.t, <-c.err)
	return r
}

// await waits for a state that lasts.
func await(t *testing.T, f *lmitest.Function, ok func(lmitest.Stats) bool) lmitest.Stats {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, f.Wait(ctx, ok), "still %+v", f.Stats())
	return f.Stats()
}

func TestInvokeReturnsTheHandlersAnswer(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{FunctionName: "greet", Timeout: 7 * time.Second})
	before := time.Now()
	r := invoke(t, f, event{Text: "world"})
	require.Nil(t, r.Error)
	require.Equal(t, "application/json", r.ContentType)
	require.False(t, r.Streamed)
	require.Positive(t, r.Duration)
	require.Positive(t, r.InitDuration)

	var a answer
	require.NoError(t, json.Unmarshal(r.Payload, &a))
	require.Equal(t, "hello world", a.Text)
	require.Equal(t, r.RequestID, a.RequestID)
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, a.RequestID)
	require.Equal(t, "arn:aws:lambda:us-east-1:123456789012:function:greet", a.ARN)
	require.Regexp(t, `^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0$`, a.TraceID)
	require.WithinDuration(t, before.Add(7*time.Second), time.UnixMilli(a.Left), time.Second)

	require.Zero(t, invoke(t, f, event{}).InitDuration)
}

func TestInvokeReturnsTheHandlersError(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2})
	r := invoke(t, f, event{Do: "fail"})
	require.Equal(t, "errorString", r.Error.Type)
	require.Equal(t, "as asked", r.Error.Message)
	require.JSONEq(t, `{"errorType":"errorString","errorMessage":"as asked"}`, string(r.Payload))
	ask(t, f, event{}) // the process lives
	require.Equal(t, 1, f.Stats().FunctionErrors)
}

func TestSixtyFourRunAtOnceAndOneMoreIsThrottled(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Timeout: time.Minute})
	g := newGate(t)
	var calls []*call
	for range 64 {
		calls = append(calls, begin(t, f, event{Gate: g.address()}))
	}
	inside := g.wantWaiting(64)
	require.Equal(t, 64, f.Stats().InFlight)

	_, err := f.Invoke(t.Context(), nil)
	require.ErrorIs(t, err, lmitest.ErrThrottled)

	inside.pass()
	pids := map[int]bool{}
	for _, c := range calls {
		var a answer
		require.NoError(t, json.Unmarshal(c.want().Payload, &a))
		pids[a.PID] = true
	}
	require.Len(t, pids, 1)
	s := f.Stats()
	require.Equal(t, 64, s.PeakInFlight)
	require.Equal(t, 1, s.Throttled)
	require.Equal(t, 1, s.Starts)
	require.Zero(t, s.InFlight)
}

// A runtime needs a moment from its answer to its next poll. Callers that use it must not be throttled.
func TestAsManyCallersAsRuntimesAreNeverThrottled(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 16})
	errs := make(chan error, 16)
	for range 16 {
		go func() {
			for range 50 {
				if _, err := f.Invoke(t.Context(), nil); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 16 {
		require.NoError(t, <-errs)
	}
	require.Equal(t, 16*50, f.Stats().Invocations)
}

func TestSeveralEnvironmentsShareTheWork(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Environments: 2, Concurrency: 3, Timeout: time.Minute})
	await(t, f, func(s lmitest.Stats) bool { return s.Idle == 6 })
	g := newGate(t)
	var calls []*call
	var inside waiting
	for range 6 { // one after the other, all stay
		calls = append(calls, begin(t, f, event{Gate: g.address()}))
		inside = append(inside, g.wantWaiting(1)...)
	}
	inside.pass()
	seen := map[int]int{}
	for i, c := range calls {
		seen[c.want().Environment]++
		if i == 1 {
			require.Len(t, seen, 2) // one each, before any has two
		}
	}
	require.Equal(t, map[int]int{0: 3, 1: 3}, seen)
}

func TestACallerThatLeavesDoesNotStopTheHandler(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2, Timeout: time.Minute})
	g := newGate(t)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	payload := encode(t, event{Gate: g.address()})
	go func() {
		_, err := f.Invoke(ctx, payload)
		left <- err
	}()
	inside := g.wantWaiting(1)
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	require.Equal(t, 1, f.Stats().InFlight)
	inside.pass()
	await(t, f, func(s lmitest.Stats) bool { return s.InFlight == 0 })
	require.Zero(t, f.Stats().LateReplies)
	require.Zero(t, f.Stats().Exits)
}

func TestShutdownLeavesNothingAndMayBeCalledAgain(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2})
	pid := ask(t, f, event{}).PID
	require.NoError(t, f.Shutdown(t.Context()))
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	require.NoError(t, f.Shutdown(t.Context()))
	_, err := f.Invoke(t.Context(), nil)
	require.ErrorIs(t, err, lmitest.ErrClosed)
	require.Equal(t, 1, f.Stats().Stops)
	require.Zero(t, f.Stats().Exits)
}

func TestAReplyOverSixMegabytesIsRefused(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2})
	r := invoke(t, f, event{Do: "large"})
	require.Equal(t, lmitest.TypeTooLarge, r.Error.Type)
	await(t, f, func(s lmitest.Stats) bool { return s.Exits == 1 }) // aws-lambda-go takes no 413 either
}

func TestAnEventOverSixMegabytesIsRefused(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2})
	_, err := f.Invoke(t.Context(), make([]byte, 6<<20+1))
	require.ErrorContains(t, err, "6291457 bytes")
}
