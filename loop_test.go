package lmipool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/lmitest"
)

// event tells the child what to do; state is what it answers.
type event struct{ Do string }

type state struct{ Acquired, Total, Idle, Queued, Max int32 }

// leaks is a handler that forgets to give back.
func leaks(db *lmipool.Pool) {
	lambda.Start(lmipool.Handler(db, func(ctx context.Context, e event) (state, error) {
		var err error
		switch e.Do {
		case "lease":
			_, err = db.Acquire(ctx)
		case "transaction":
			_, err = db.Begin(ctx)
		case "query":
			_, err = db.Query(lmipool.Alone(ctx), "select generate_series(1, 100)") // one that rides holds nothing
		case "batch":
			b := &pgx.Batch{}
			b.Queue("select 1")
			db.SendBatch(ctx, b)
		case "row":
			db.QueryRow(ctx, "select 1") // no Scan
		case "select":
			_, err = db.Exec(ctx, "select pg_sleep(0.001)")
		case "state":
		default:
			err = fmt.Errorf("do %q?", e.Do)
		}
		s := db.Stat()
		return state{s.AcquiredConns(), s.TotalConns(), s.IdleConns(), s.Queued(), s.MaxConns()}, err
	}))
}

// syncBuffer is written by the child's copier while the test reads it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func invoke(ctx context.Context, f *lmitest.Function, do string) (s state, err error) {
	reply, err := f.Invoke(ctx, []byte(`{"Do":"`+do+`"}`))
	if err != nil {
		return s, err
	}
	if reply.Error != nil {
		return s, errors.New(reply.Error.Message)
	}
	return s, json.Unmarshal(reply.Payload, &s)
}

func TestSixtyFourLeaksOfEachKindThroughTheRealLoop(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	f, stderr := function(t)
	for _, leak := range []string{"lease", "transaction", "query", "batch", "row"} {
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				_, err := invoke(ctx, f, leak)
				assert.NoError(t, err, leak)
			})
		}
		wg.Wait()
		began := time.Now()
		require.Eventually(t, func() bool {
			s, err := invoke(ctx, f, "state")
			return err == nil && s.Acquired == 0 && s.Total == s.Idle && s.Queued == 0
		}, 30*time.Second, time.Millisecond, "the pool is whole")
		t.Logf("64 leaks (%s): whole %s after the last reply", leak, time.Since(began).Round(time.Millisecond))
	}
	s, err := invoke(ctx, f, "state")
	require.NoError(t, err)
	assert.EqualValues(t, 16, s.Max, "the formula for 64")
	require.NoError(t, f.Shutdown(ctx))
	for _, leak := range []string{"lease", "transaction", "query", "batch"} {
		logged := 0
		for line := range strings.Lines(stderr()) {
			if strings.Contains(line, "the invocation ended with a "+leak+" still held") {
				logged++
				assert.Contains(t, line, "loop_test.go", "the stack that acquired it")
			}
		}
		assert.Positive(t, logged, leak)
		assert.LessOrEqual(t, logged, 2, "one at once, and one a minute: %s", leak)
	}
	assert.Zero(t, f.Stats().FunctionErrors)
}

func TestSixtyFourInvocationsShareAFewConnections(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	f, _ := function(t)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			_, err := invoke(ctx, f, "select")
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	s, err := invoke(ctx, f, "state")
	require.NoError(t, err)
	t.Logf("64 invocations at once: %d connections", s.Total)
	assert.Less(t, s.Total, int32(16), "2 on a quiet machine; the ceiling is 16")
}
