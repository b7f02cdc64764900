package lmipool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
)

// culprit is what stacks must show.
//
//go:noinline
func culprit(v any) { panic(v) }

// closesBadly is a late result whose Close panics.
type closesBadly struct{ io.Reader }

func (closesBadly) Close() error { culprit("no way"); return nil }

func TestEveryPanicThatIsCaughtIsLoggedWithRequestIDAndStack(t *testing.T) {
	t.Parallel()
	panics := func(v any) func(context.Context, int) (string, error) {
		return func(context.Context, int) (string, error) { culprit(v); return "", nil }
	}
	call := func(ctx context.Context, db lmipool.DB, fn func(context.Context, int) (string, error)) {
		_, _ = lmipool.Handler(db, fn)(ctx, 1)
	}
	onPanic := lmipool.Config{OnPanic: func(context.Context, any, any) (any, error) { return "500", nil }}
	for name, c := range map[string]struct {
		config lmipool.Config
		do     func(ctx context.Context, db *lmipool.Pool)
		lines  []string // "message: panic"
	}{
		"without OnPanic": {
			do: func(ctx context.Context, db *lmipool.Pool) { call(ctx, db, panics("boom")) }, lines: []string{"a handler panicked: boom"},
		},
		"with OnPanic": {
			config: onPanic,
			do:     func(ctx context.Context, db *lmipool.Pool) { call(ctx, db, panics(errors.New("boom"))) }, lines: []string{"a handler panicked: boom"},
		},
		"with the user's own reply": {
			config: onPanic,
			do: func(ctx context.Context, db *lmipool.Pool) {
				call(ctx, db, panics(messages.InvokeResponse_Error{Type: "NotFound", Message: "no such order"}))
			}, lines: []string{"a handler panicked: "},
		},
		"a process that is to exit": {
			config: lmipool.Config{CatchPanics: lmipool.Off},
			do:     func(ctx context.Context, db *lmipool.Pool) { call(ctx, db, panics("boom")) }, lines: []string{"a handler panicked: boom"},
		},
		"OnPanic too": {
			config: lmipool.Config{OnPanic: func(context.Context, any, any) (any, error) { culprit("again"); return nil, nil }},
			do:     func(ctx context.Context, db *lmipool.Pool) { call(ctx, db, panics("boom")) }, lines: []string{"a handler panicked: boom", "Config.OnPanic panicked: again"},
		},
		"OnOverrun": {
			config: lmipool.Config{Margin: time.Second, ReplyMargin: 800 * time.Millisecond, OnOverrun: func(context.Context, any) (any, error) { culprit("late"); return nil, nil }},
			do: func(ctx context.Context, db *lmipool.Pool) {
				ctx, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
				defer cancel()
				call(ctx, db, hanging[string](t))
			}, lines: []string{"Config.OnOverrun panicked: late"},
		},
		"Wrap": {
			config: onPanic,
			do: func(ctx context.Context, db *lmipool.Pool) {
				_, _ = lmipool.Wrap(db, func() { culprit("boom") })(ctx, nil)
			}, lines: []string{"a handler panicked: boom"},
		},
		"a stream": {
			do: func(ctx context.Context, db *lmipool.Pool) {
				s := &source{next: func() (string, error) { culprit("boom"); return "", nil }}
				out, err := lmipool.Handler(db, func(context.Context, int) (io.Reader, error) { return s, nil })(ctx, 1)
				if assert.NoError(t, err) {
					_, err = io.ReadAll(out)
					assert.Error(t, err)
				}
			}, lines: []string{"a stream panicked: boom"},
		},
		"an http.Handler": {
			do: func(ctx context.Context, db *lmipool.Pool) {
				h := lmipool.HTTPHandler(db, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { culprit("boom") }))
				resp, err := h(ctx, &events.LambdaFunctionURLRequest{})
				if assert.NoError(t, err) {
					_, _ = io.ReadAll(resp)
				}
			}, lines: []string{"an http.Handler panicked: boom"},
		},
		"the Close of a late result": {
			do: func(ctx context.Context, db *lmipool.Pool) {
				ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
				late := make(chan struct{})
				_, err := lmipool.Handler(db, func(context.Context, int) (io.Reader, error) { <-late; return closesBadly{}, nil })(ctx, 1)
				assert.Error(t, err)
				close(late)
			}, lines: []string{"closing a late result panicked: no way"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &logged{}
			db := openManaged(t, log, c.config)
			c.do(lambdacontext.NewContext(deadline(t, 10*time.Second), &lambdacontext.LambdaContext{AwsRequestID: "8f3a"}), db)
			var lines []string
			require.Eventually(t, func() bool {
				lines = lines[:0]
				for line := range strings.Lines(log.text()) {
					var m map[string]any
					assert.NoError(t, json.Unmarshal([]byte(line), &m))
					msg, _ := m["msg"].(string)
					if !strings.HasSuffix(msg, " panicked") {
						continue
					}
					text, _ := m["panic"].(string)
					if strings.Contains(text, "NotFound") || strings.Contains(text, "no such order") {
						text = ""
					}
					lines = append(lines, strings.TrimPrefix(msg, "lmipool: ")+": "+text)
					assert.Equal(t, "ERROR", m["level"])
					assert.Equal(t, "8f3a", m["requestId"])
					frames, _ := m["stack"].([]any)
					if assert.NotEmpty(t, frames) {
						assert.Regexp(t, `^/.*panic_log_test\.go:\d+ github\.com/lmipool/lmipool_test\.culprit$`, frames[0])
					}
					assert.NotRegexp(t, `runtime\.|lmipool/lmipool\.|aws-lambda-go/|debug\.Stack`, fmt.Sprint(frames...))
				}
				return len(lines) == len(c.lines)
			}, 30*time.Second, time.Millisecond, "%s", log.text())
			assert.Equal(t, c.lines, lines)
		})
	}
}

func TestAHandlerThatExitsItsGoroutineIsLoggedToo(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := openManaged(t, log, lmipool.Config{})
	ctx := lambdacontext.NewContext(deadline(t, 10*time.Second), &lambdacontext.LambdaContext{AwsRequestID: "8f3a"})
	_, err := lmipool.Handler(db, func(context.Context, int) (int, error) { runtime.Goexit(); return 0, nil })(ctx, 1)
	var goexit *lmipool.GoexitError
	require.ErrorAs(t, err, &goexit)
	line := log.line(t, "a handler ended its goroutine without a reply")
	assert.Equal(t, "8f3a", line["requestId"])
	frames, _ := line["stack"].([]any)
	if assert.NotEmpty(t, frames) {
		assert.Regexp(t, `^/.*panic_log_test\.go:\d+ github\.com/lmipool/lmipool_test\.TestAHandlerThatExits`, frames[0])
	}
}
