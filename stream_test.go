package lmipool_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/lmitest"
)

// source is a result that is read piece by piece.
type source struct {
	next   func() (string, error)
	rest   string
	closed *atomic.Int64
}

func (s *source) Read(p []byte) (int, error) {
	if s.rest == "" {
		var err error
		if s.rest, err = s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// closing is one with Close and a content type.
type closing struct{ source }

func (s *closing) Close() error        { s.closed.Add(1); return nil }
func (s *closing) ContentType() string { return "text/csv" }

// pieces ends after n of them, or goes on for ever.
func pieces(n int) func() (string, error) {
	i := 0
	return func() (string, error) {
		if i++; i > n && n > 0 {
			return "", io.EOF
		}
		time.Sleep(time.Millisecond)
		return fmt.Sprintf("%d\n", i), nil
	}
}

// lines reads rows as they are asked for.
func lines(ctx context.Context, db *lmipool.Pool, n int) (func() (string, error), error) {
	rows, err := db.Query(ctx, "select generate_series(1, $1::int) || E'\\n'", n)
	return func() (s string, err error) {
		if !rows.Next() {
			return "", cmp.Or(rows.Err(), io.EOF)
		}
		return s, rows.Scan(&s)
	}, err
}

type streamState struct {
	Closed   int64
	Acquired int32
	Handlers lmipool.HandlerStat
}

var streamsClosed atomic.Int64

func stateOf(db *lmipool.Pool) streamState {
	return streamState{streamsClosed.Load(), db.Stat().AcquiredConns(), db.HandlerStat()}
}

// startStreams is a handler whose results are streams.
func startStreams(db *lmipool.Pool) {
	lambda.Start(lmipool.Handler(db, func(ctx context.Context, t task) (io.Reader, error) {
		s := &closing{source{next: pieces(t.N), closed: &streamsClosed}}
		switch t.Do {
		case "state":
			state, err := json.Marshal(stateOf(db))
			return strings.NewReader(string(state)), err
		case "rows":
			next, err := lines(ctx, db, t.N)
			return &source{next: next}, err
		case "closing":
			return s, nil
		case "panic":
			next := s.next
			s.next = func() (string, error) {
				piece, err := next()
				if piece == "3\n" {
					panic("boom")
				}
				return piece, err
			}
			return s, nil
		case "fail":
			s.next = func() (string, error) { return "", errors.New("no more") }
			return s, nil
		case "hang":
			s.next = func() (string, error) { time.Sleep(t.For); return "", io.EOF }
			return s, nil
		case "late":
			time.Sleep(t.For)
			return s, nil
		case "nil":
			return nil, nil
		}
		return nil, errors.New(t.Do + "?")
	}))
}

// startURL is a handler with a result of aws-lambda-go's type for function URLs.
func startURL(db *lmipool.Pool) {
	lambda.Start(lmipool.Handler(db, func(ctx context.Context, t task) (*events.LambdaFunctionURLStreamingResponse, error) {
		switch t.Do {
		case "rows":
			next, err := lines(ctx, db, t.N)
			return &events.LambdaFunctionURLStreamingResponse{StatusCode: 201, Headers: map[string]string{"a": "b"}, Body: &source{next: next}}, err
		case "state":
			state, err := json.Marshal(stateOf(db))
			return &events.LambdaFunctionURLStreamingResponse{Body: strings.NewReader(string(state))}, err
		case "late":
			time.Sleep(t.For)
			return &events.LambdaFunctionURLStreamingResponse{Body: &closing{source{next: pieces(1), closed: &streamsClosed}}}, nil
		case "late nil":
			time.Sleep(t.For)
		}
		return nil, nil
	}))
}

// until asks the child for its state until ok holds.
func until(ctx context.Context, t *testing.T, f *lmitest.Function, what string, ok func(streamState) bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		r, _ := ask[any](ctx, t, f, task{Do: "state"})
		_, body, found := strings.Cut(string(r.Payload), "\x00\x00\x00\x00\x00\x00\x00\x00")
		if !found {
			body = string(r.Payload)
		}
		var s streamState
		return assert.NoError(t, json.Unmarshal([]byte(body), &s)) && ok(s)
	}, 10*time.Second, 5*time.Millisecond, what)
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d\n", i+1)
	}
	return b.String()
}

func TestAStreamKeepsItsScopeUntilItIsRead(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	f, stderr := functionWith(t, lmitest.Config{Timeout: 15 * time.Second, Env: []string{"CHILD=stream"}})
	want := numbers(1000)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			r, _ := ask[any](ctx, t, f, task{Do: "rows", N: 1000})
			assert.Nil(t, r.Error)
			assert.True(t, r.Streamed)
			assert.Equal(t, "application/octet-stream", r.ContentType)
			assert.Equal(t, want, string(r.Payload))
		})
	}
	wg.Wait()
	r, _ := ask[any](ctx, t, f, task{Do: "closing", N: 10})
	assert.Nil(t, r.Error)
	assert.Equal(t, "text/csv", r.ContentType)
	assert.Equal(t, numbers(10), string(r.Payload))
	until(ctx, t, f, "all is closed and given back", func(s streamState) bool { return s.Closed == 1 && s.Acquired == 0 })
	r, _ = ask[any](ctx, t, f, task{Do: "nil"})
	assert.Nil(t, r.Error)
	assert.Equal(t, "null", string(r.Payload))
	assert.NotContains(t, stderr(), "still held")
	assert.Zero(t, f.Stats().Exits)
}

func TestAStreamIsCutWithAnErrorBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	const timeout = 2 * time.Second
	f, _ := functionWith(t, lmitest.Config{Timeout: timeout, Env: []string{"CHILD=stream", "LMIPOOL_MARGIN=1s", "LMIPOOL_REPLY_MARGIN=500ms", "LMIPOOL_MAX_OVERRUNS=64"}})
	require.Eventually(t, func() bool { // on a busy machine the first connection may take longer than one invocation has
		r, _ := ask[any](ctx, t, f, task{Do: "rows", N: 1})
		return r.Error == nil
	}, 30*time.Second, time.Millisecond)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			do := []task{{Do: "closing"}, {Do: "hang", For: 2 * timeout}, {Do: "rows", N: 1e9}, {Do: "closing", N: 3}}[i%4]
			if i >= 8 && do.Do == "rows" { // they hold a connection for all of the time
				do = task{Do: "closing"}
			}
			r, _ := ask[any](ctx, t, f, do)
			if do.N == 3 {
				assert.Nil(t, r.Error)
				assert.Equal(t, numbers(3), string(r.Payload))
				return
			}
			if assert.NotNil(t, r.Error, do.Do) {
				assert.Contains(t, r.Error.Message, "the stream was cut", do.Do)
			}
			assert.Less(t, r.Duration, timeout)
			assert.True(t, strings.HasPrefix(numbers(1+strings.Count(string(r.Payload), "\n")), string(r.Payload)), "what came before")
		})
	}
	wg.Wait()
	until(ctx, t, f, "the sources are closed when they come back", func(s streamState) bool {
		return s.Closed == 30 && s.Acquired == 0 && s.Handlers.Overrunning == 0
	})
	assert.Zero(t, f.Stats().LateReplies)
	assert.Zero(t, f.Stats().Exits)
}

func TestAStreamThatFailsOrPanicsEndsWithItsErrorAndTheProcessLives(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	f, _ := function(t, "CHILD=stream")
	r, _ := ask[any](ctx, t, f, task{Do: "panic"})
	require.NotNil(t, r.Error)
	assert.Equal(t, "string", r.Error.Type)
	assert.Equal(t, "boom", r.Error.Message)
	assert.NotEmpty(t, r.Error.StackTrace)
	assert.Equal(t, "1\n2\n", string(r.Payload))
	r, _ = ask[any](ctx, t, f, task{Do: "fail"})
	require.NotNil(t, r.Error)
	assert.Equal(t, "no more", r.Error.Message)
	until(ctx, t, f, "both are closed", func(s streamState) bool { return s.Closed == 2 })
	assert.Zero(t, f.Stats().Exits)
}

func TestAStreamThatComesTooLateIsClosed(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	const timeout = time.Second
	for _, child := range []string{"stream", "url"} {
		f, stderr := functionWith(t, lmitest.Config{Timeout: timeout, Env: []string{"CHILD=" + child, "LMIPOOL_MARGIN=500ms"}})
		var wg sync.WaitGroup
		for _, do := range []string{"late", "late nil"} {
			if do == "late nil" && child == "stream" {
				continue
			}
			wg.Go(func() {
				r, _ := ask[any](ctx, t, f, task{Do: do, For: timeout + 500*time.Millisecond})
				if assert.NotNil(t, r.Error) {
					assert.Equal(t, "OverrunError", r.Error.Type)
				}
			})
		}
		wg.Wait()
		until(ctx, t, f, "it is closed", func(s streamState) bool { return s.Closed == 1 && s.Handlers.Overrunning == 0 })
		assert.Zero(t, f.Stats().Exits, stderr())
	}
}

func TestAFunctionURLsResponseStreamsRowsAndIsCut(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	const timeout = 2 * time.Second
	f, _ := functionWith(t, lmitest.Config{Timeout: timeout, Env: []string{"CHILD=url", "LMIPOOL_MARGIN=400ms"}})
	const prelude = `{"statusCode":201,"headers":{"a":"b"}}` + "\x00\x00\x00\x00\x00\x00\x00\x00"
	r, _ := ask[any](ctx, t, f, task{Do: "rows", N: 1000})
	assert.Nil(t, r.Error)
	assert.Equal(t, "application/vnd.awslambda.http-integration-response", r.ContentType)
	assert.Equal(t, prelude+numbers(1000), string(r.Payload))
	r, _ = ask[any](ctx, t, f, task{Do: "rows", N: 1e9})
	require.NotNil(t, r.Error)
	assert.Contains(t, r.Error.Message, "the stream was cut")
	body, _ := strings.CutPrefix(string(r.Payload), prelude)
	assert.NotEmpty(t, body)
	assert.True(t, strings.HasPrefix(numbers(1+strings.Count(body, "\n")), body), "what came before")
	until(ctx, t, f, "the rows are given back", func(s streamState) bool { return s.Acquired == 0 && s.Handlers.Overrunning == 0 })
	assert.Zero(t, f.Stats().LateReplies)
	assert.Zero(t, f.Stats().Exits)
}

// both is a reader that also encodes to JSON, which is what aws-lambda-go sends.
type both struct {
	io.Reader `json:"-"`
	Name      string
}

// panicking is a reader that panics.
type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("in a read") }

func TestAReaderThatEncodesToJSONIsNoStream(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{})
	result := &both{strings.NewReader("text"), "x"}
	out, err := lmipool.Handler(db, func(context.Context, int) (any, error) { return result, nil })(deadline(t, 3*time.Second), 1)
	require.NoError(t, err)
	assert.Same(t, result, out)
}

func TestAPanicInAStreamIsItsErrorLoggedAndCounted(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := openManaged(t, log, lmipool.Config{})
	out, err := lmipool.Handler(db, func(context.Context, int) (io.Reader, error) { return panicking{}, nil })(deadline(t, 3*time.Second), 1)
	require.NoError(t, err)
	_, err = io.ReadAll(out)
	assert.ErrorContains(t, err, "in a read")
	assert.EqualValues(t, 1, db.HandlerStat().Panics)
	assert.Contains(t, fmt.Sprint(log.line(t, "a stream panicked")["stack"]), "stream_test.go")
}
