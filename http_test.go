package lmipool_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/lmitest"
)

// mux is a web application with faults.
func mux(db *lmipool.Pool) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /double/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		if err := db.QueryRow(r.Context(), "select 2 * $1::int", r.PathValue("n")).Scan(&n); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("X-Doubled", "yes")
		fmt.Fprint(w, n)
	})
	m.HandleFunc("GET /acquired", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, db.Stat().AcquiredConns(), db.HandlerStat().Overrunning)
	})
	m.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
	m.HandleFunc("GET /abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	m.HandleFunc("GET /panic-in-the-middle", func(w http.ResponseWriter, r *http.Request) {
		_, err := db.Begin(r.Context())
		fmt.Fprint(w, "half of it", err)
		panic("boom")
	})
	m.HandleFunc("GET /abort-in-the-middle", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half of it")
		panic(http.ErrAbortHandler)
	})
	m.HandleFunc("GET /hang", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(2 * time.Second)
		fmt.Fprint(w, "too late")
	})
	m.HandleFunc("GET /endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 100)); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	return m
}

// get asks the application for a path, and returns the prelude and the body.
func get(t *testing.T, f *lmitest.Function, path string) (r *lmitest.Reply, prelude, body string) {
	t.Helper()
	req := events.LambdaFunctionURLRequest{RawPath: path}
	req.RequestContext.DomainName = "example.lambda-url.us-east-1.on.aws"
	req.RequestContext.HTTP.Method = http.MethodGet
	r, _ = ask[any](bounded(t), t, f, req)
	prelude, body, _ = strings.Cut(string(r.Payload), "\x00\x00\x00\x00\x00\x00\x00\x00")
	return r, prelude, body
}

func TestAnHTTPHandlerServes64AtOnce(t *testing.T) {
	t.Parallel()
	f, stderr := function(t, "CHILD=http")
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			r, prelude, body := get(t, f, fmt.Sprint("/double/", i))
			assert.Nil(t, r.Error)
			assert.Contains(t, prelude, `"statusCode":200`)
			assert.Contains(t, prelude, `"X-Doubled":"yes"`)
			assert.Equal(t, fmt.Sprint(2*i), body)
		})
	}
	wg.Wait()
	_, prelude, _ := get(t, f, "/nowhere")
	assert.Contains(t, prelude, `"statusCode":404`)
	assert.NotContains(t, stderr(), "still held")
}

func TestAnHTTPHandlersPanicIsAResponseOrABrokenStreamAndTheProcessLives(t *testing.T) {
	t.Parallel()
	f, stderr := function(t, "CHILD=http")
	for _, path := range []string{"/panic", "/abort"} {
		r, prelude, body := get(t, f, path)
		assert.Nil(t, r.Error, path)
		assert.Contains(t, prelude, `"statusCode":500`, path)
		assert.Empty(t, body, path)
	}
	for _, path := range []string{"/panic-in-the-middle", "/abort-in-the-middle"} {
		r, _, body := get(t, f, path)
		if assert.NotNil(t, r.Error, path) {
			assert.Contains(t, r.Error.Message, "panicked in the middle")
		}
		assert.True(t, strings.HasPrefix(body, "half of it"), body)
	}
	require.Eventually(t, func() bool {
		_, _, body := get(t, f, "/acquired")
		return body == "0 0"
	}, 30*time.Second, 5*time.Millisecond, "the transaction is given back")
	assert.Equal(t, 2, strings.Count(stderr(), "an http.Handler panicked"), "the aborted ones are not logged")
	assert.Zero(t, f.Stats().Exits)
	assert.Equal(t, 1, f.Stats().Starts)
}

func TestAnHTTPHandlerThatNeverReturnsIsAnsweredFor(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	f, _ := functionWith(t, lmitest.Config{Timeout: timeout, Env: []string{"CHILD=http", "LMIPOOL_MARGIN=400ms"}})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r, _, _ := get(t, f, "/hang")
			if assert.NotNil(t, r.Error) {
				assert.Equal(t, "OverrunError", r.Error.Type)
			}
			assert.Less(t, r.Duration, timeout)
		})
		wg.Go(func() {
			r, _, body := get(t, f, "/endless")
			if assert.NotNil(t, r.Error) {
				assert.Contains(t, r.Error.Message, "the stream was cut")
			}
			assert.NotEmpty(t, body)
			assert.Less(t, r.Duration, timeout)
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		_, _, body := get(t, f, "/acquired")
		return body == "0 0"
	}, 10*time.Second, 10*time.Millisecond, "they have returned: nobody waits for a reader")
	assert.Zero(t, f.Stats().LateReplies)
	assert.Zero(t, f.Stats().Exits)
}
