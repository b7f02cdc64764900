package lmipool_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
)

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// aws-lambda-go ends the process for each of these.
func TestAnErrorOrPanicThatCannotBeSentIsAnErrorReply(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 4<<20)
	for name, c := range map[string]struct {
		fn     func() error
		want   string
		panics int64
	}{
		"a nil *nilError": {func() error { return (*nilError)(nil) }, "nil pointer dereference", 1},
		"inside another":  {func() error { return errors.Join(errors.New("a"), (*nilError)(nil)) }, "nil pointer dereference", 1},
		"a long error":    {func() error { return errors.New(long) }, "éé…", 0},
		"a long panic":    {func() error { panic(long) }, "éé…", 1},
	} {
		log := &logged{}
		db := openManaged(t, log, lmipool.Config{})
		_, err := lmipool.Handler(db, func(context.Context, int) (int, error) { return 0, c.fn() })(bounded(t), 1)
		var reply messages.InvokeResponse_Error
		require.ErrorAs(t, err, &reply, name)
		assert.Contains(t, reply.Message, c.want, name)
		assert.Less(t, len(reply.Message), 1<<20)
		assert.False(t, reply.ShouldExit)
		assert.Equal(t, c.panics, db.HandlerStat().Panics, name)
		assert.Less(t, len(log.text()), 2<<20)
	}
}

func TestAnHTTPHandlerThatExitsItsGoroutineIsAnErrorResponse(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := openManaged(t, log, lmipool.Config{})
	for _, begun := range []bool{false, true} {
		h := lmipool.HTTPHandler(db, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if begun {
				_, _ = w.Write([]byte("half"))
			}
			runtime.Goexit()
		}))
		resp, err := h(bounded(t), &events.LambdaFunctionURLRequest{RawPath: "/"})
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		if begun {
			assert.ErrorContains(t, err, "in the middle of its response")
			assert.Equal(t, "half", string(body))
		} else {
			assert.NoError(t, err)
			assert.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		}
	}
	assert.Contains(t, log.text(), "runtime.Goexit")
}

// A wrapper around the handler that replaces the ctx takes the deadline away, and with it the protection.
func TestACtxWithoutADeadlineIsWarnedOfOnce(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := openManaged(t, log, lmipool.Config{})
	h := lmipool.Handler(db, func(context.Context, int) (int, error) { return 0, nil })
	_, err := h(bounded(t), 1)
	require.NoError(t, err)
	assert.NotContains(t, log.text(), "no deadline")
	for range 2 {
		_, err := h(context.WithoutCancel(bounded(t)), 1)
		require.NoError(t, err)
	}
	log.line(t, "ctx has no deadline")
}
