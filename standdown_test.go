package lmipool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/lmitest"
)

type taskFunc = func(context.Context, task) (outcome, error)

// swallowers are what is put around a handler, and hides that its error asks for an exit.
var swallowers = map[string]func(next taskFunc) any{
	"status 500": func(next taskFunc) any {
		return func(ctx context.Context, t task) (outcome, error) {
			o, err := next(ctx, t)
			if err != nil {
				return outcome{N: 500}, nil
			}
			return o, nil
		}
	},
	"wrapped": func(next taskFunc) any {
		return func(ctx context.Context, t task) (outcome, error) {
			o, err := next(ctx, t)
			if err != nil {
				return o, fmt.Errorf("orders: %w", err)
			}
			return o, nil
		}
	},
	"text only": func(next taskFunc) any {
		return func(ctx context.Context, t task) (outcome, error) {
			o, err := next(ctx, t)
			if err != nil {
				return o, errors.New(err.Error())
			}
			return o, nil
		}
	},
	"records that failed": func(next taskFunc) any {
		type reply struct {
			outcome
			events.SQSEventResponse
		}
		return func(ctx context.Context, t task) (r reply, _ error) {
			for range 3 {
				o, err := next(ctx, t)
				r.outcome = o
				if err != nil {
					r.BatchItemFailures = append(r.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: t.Do})
				}
			}
			return r, nil
		}
	},
	"a goroutine": func(next taskFunc) any {
		return func(ctx context.Context, t task) (any, error) {
			done := make(chan any, 1)
			go func() {
				o, err := next(ctx, t)
				if err != nil {
					done <- err.Error()
					return
				}
				done <- o
			}()
			return <-done, nil
		}
	},
}

func startDeaf(db *lmipool.Pool) {
	c := &bulkheadChild{db: db}
	lambda.Start(swallowers[os.Getenv("DEAF")](lmipool.Handler(db, func(ctx context.Context, t task) (outcome, error) {
		if t.For > 0 {
			fmt.Fprintln(os.Stderr, "one that takes long has begun")
		}
		return c.handle(ctx, t)
	})))
}

func TestAStandDownThatNobodyHearsEndsTheProcessAllTheSame(t *testing.T) {
	t.Parallel()
	for name := range swallowers {
		for _, caught := range []string{"on", "off"} { // too many panics; one, with LMIPOOL_CATCH_PANICS=off
			if caught == "off" && name != "status 500" {
				continue
			}
			t.Run(name+", "+caught, func(t *testing.T) {
				t.Parallel()
				ctx := boundedBy(t, 60*time.Second)
				f, stderr := functionWith(t, lmitest.Config{Timeout: 20 * time.Second, Env: []string{"CHILD=deaf", "DEAF=" + name, "LMIPOOL_MAX_PANICS=1", "LMIPOOL_CATCH_PANICS=" + caught}})
				var running sync.WaitGroup
				running.Go(func() { // it was let in before, and is finished: more than 5 s after the first reply that asks
					do := task{Do: "answer", N: 21, For: 6 * time.Second}
					if name == "records that failed" {
						do.For /= 3 // three records; those that come later are refused
					}
					r, o := ask[outcome](ctx, t, f, do)
					assert.Nil(t, r.Error)
					if name != "records that failed" {
						assert.Equal(t, 42, o.N)
					}
				})
				require.Eventually(t, func() bool { return strings.Contains(stderr(), "one that takes long has begun") }, 10*time.Second, time.Millisecond)
				for range 2 {
					ask[any](ctx, t, f, task{Do: "panic", Hold: "string"})
				}
				ended := make(chan error, 1)
				go func() { ended <- f.Wait(ctx, func(s lmitest.Stats) bool { return s.Exits == 1 && s.Ready == 1 }) }()
				for over := false; !over; {
					select {
					case err := <-ended:
						require.NoError(t, err, "%d refused in vain", f.Stats().Invocations)
						over = true
					case <-time.After(50 * time.Millisecond): // the traffic
						f.Invoke(ctx, []byte(`{"Do":"answer"}`)) // refused, throttled, or the new process's
					}
				}
				running.Wait()
				assert.Equal(t, "exit status 1", f.Stats().LastExit.State)
				assert.Equal(t, 1, strings.Count(stderr(), "standing down was not heard"))
				assert.Equal(t, 1, strings.Count(stderr(), "lmipool: standing down: all connections closed"))
				assert.Zero(t, f.Stats().LateReplies)
				r, o := ask[outcome](ctx, t, f, task{Do: "answer", N: 4})
				assert.Nil(t, r.Error)
				assert.Equal(t, 8, o.N)
				t.Logf("%d invocations until the process had ended", f.Stats().Invocations)
			})
		}
	}
}

// standingDown is a pool whose replies have asked for the end of the process, ago.
func standingDown(t *testing.T, ago time.Duration) (db *lmipool.Pool, ended chan struct{}) {
	t.Helper()
	db = openManaged(t, &logged{}, lmipool.Config{MaxPanics: 1})
	ended = make(chan struct{}, 10)
	lmipool.EndsBy(db, func() { ended <- struct{}{} })
	h := lmipool.Handler(db, func(context.Context, int) (int, error) { panic("boom") })
	for range 2 {
		_, err := h(deadline(t, 10*time.Second), 1)
		assert.Error(t, err)
	}
	lmipool.AskedAgo(db, ago)
	return db, ended
}

func never(t *testing.T, ended chan struct{}, why string) {
	t.Helper()
	select {
	case <-ended:
		t.Error("it ended the process: " + why)
	case <-time.After(300 * time.Millisecond): // three times what it takes
	}
}

func TestOnlyAnInvocationThatBeganLongAfterEndsTheProcess(t *testing.T) {
	t.Parallel()
	fn := func(context.Context, int) (int, error) { return 0, nil }

	db, ended := standingDown(t, time.Second)
	_, err := lmipool.Handler(db, fn)(deadline(t, 10*time.Second), 1)
	assert.ErrorContains(t, err, "standing down")
	never(t, ended, "aws-lambda-go may not have heard yet")

	db, ended = standingDown(t, 6*time.Second)
	_, err = lmipool.Handler(db, fn)(deadline(t, 3*time.Second), 1)
	assert.ErrorContains(t, err, "standing down")
	never(t, ended, "what is around the handler has called it late: the invocation had 10 s")

	results := lmitest.Call(bounded(t), lmitest.CallOptions{Timeout: 10 * time.Second}, lmipool.Handler(db, fn), []int{1, 2, 3})
	assert.ErrorContains(t, results[2].Err, "standing down")
	never(t, ended, "lmitest.Call is in the test's own process")

	for range 5 {
		_, err = lmipool.Handler(db, fn)(deadline(t, 10*time.Second), 1)
		assert.ErrorContains(t, err, "standing down")
	}
	<-ended
	never(t, ended, "once is enough")
}

func TestWhatRunsIsFinishedBeforeTheProcessEndsItself(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{MaxPanics: 1, StandIn: lmipool.Off})
	ended := make(chan struct{}, 10)
	lmipool.EndsBy(db, func() { ended <- struct{}{} })
	release, running := make(chan struct{}), make(chan struct{})
	h := lmipool.Handler(db, func(_ context.Context, in int) (int, error) {
		if in == 1 {
			panic("boom")
		}
		close(running)
		<-release
		return in, nil
	})
	done := make(chan error, 1)
	go func() { _, err := h(deadline(t, 10*time.Second), 2); done <- err }()
	<-running
	for range 2 {
		_, err := h(deadline(t, 10*time.Second), 1)
		assert.Error(t, err)
	}
	lmipool.AskedAgo(db, 6*time.Second)
	_, err := h(deadline(t, 10*time.Second), 1)
	assert.ErrorContains(t, err, "standing down")
	never(t, ended, "one still runs")
	close(release)
	assert.NoError(t, <-done)
	<-ended
}

// Without a stand-in a handler may hang for ever. Its time is over at its deadline.
func TestAHandlerThatHangsDoesNotKeepTheProcess(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{MaxPanics: 1, StandIn: lmipool.Off})
	ended := make(chan struct{}, 10)
	lmipool.EndsBy(db, func() { ended <- struct{}{} })
	hang, running := hanging[int](t), make(chan struct{})
	go lmipool.Handler(db, func(ctx context.Context, in int) (int, error) { close(running); return hang(ctx, in) })(deadline(t, time.Second), 1)
	<-running
	h := lmipool.Handler(db, func(context.Context, int) (int, error) { panic("boom") })
	for range 2 {
		_, err := h(deadline(t, time.Second), 1)
		assert.Error(t, err)
	}
	lmipool.AskedAgo(db, 6*time.Second)
	_, err := h(deadline(t, time.Second), 1)
	assert.ErrorContains(t, err, "standing down")
	select {
	case <-ended:
	case <-bounded(t).Done():
		t.Error("it waits for ever")
	}
}

// On-demand environments, other machines and tests are never ended by lmipool.
func TestOnlyManagedInstancesAreEnded(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{MaxPanics: 1})
	h := lmipool.Handler(db, func(context.Context, int) (int, error) { panic("boom") })
	for range 2 {
		h(deadline(t, 10*time.Second), 1)
	}
	lmipool.AskedAgo(db, time.Hour)
	_, err := h(deadline(t, 10*time.Second), 1)
	assert.ErrorContains(t, err, "standing down", "and this process lives, which did not open its pool as one of Lambda's")
}
