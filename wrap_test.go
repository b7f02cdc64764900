package lmipool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/pool"
)

// handlerFunc is a lambda.Handler.
type handlerFunc func(context.Context, []byte) ([]byte, error)

func (h handlerFunc) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return h(ctx, payload)
}

// invoked wraps handler, and invokes it as aws-lambda-go does.
func invoked(db lmipool.DB, handler any, options ...lambda.Option) func(context.Context, []byte) ([]byte, error) {
	return lambda.NewHandler(lmipool.Wrap(db, handler, options...)).Invoke
}

func TestWrapTakesEveryShapeOfHandler(t *testing.T) {
	t.Parallel()
	db := open(t, &logged{})
	no := errors.New("no")
	var got []task
	var last context.Context
	for name, c := range map[string]struct {
		handler any
		want    string
		err     error
	}{
		"func()":                      {func() {}, "null", nil},
		"func() error":                {func() error { return no }, "", no},
		"func() (O, error)":           {func() (int, error) { return 7, nil }, "7", nil},
		"func(E)":                     {func(e task) { got = append(got, e) }, "null", nil},
		"func(E) error":               {func(e task) error { got = append(got, e); return nil }, "null", nil},
		"func(ctx) error":             {func(ctx context.Context) error { last = ctx; return db.Ping(ctx) }, "null", nil},
		"func(ctx, E) error":          {func(ctx context.Context, e task) error { got = append(got, e); return no }, "", no},
		"func(ctx, E) (O, error)":     {func(ctx context.Context, e task) (task, error) { return task{N: 2 * e.N}, nil }, `{"Do":"","N":42,"Hold":"","For":0,"Together":0}`, nil},
		"func(ctx, any) (any, error)": {func(ctx context.Context, e any) (any, error) { return e, nil }, `{"N":21}`, nil},
		"lambda.Handler":              {handlerFunc(func(_ context.Context, p []byte) ([]byte, error) { return p, nil }), `{"N":21}`, nil},
	} {
		out, err := invoked(db, c.handler)(bounded(t), []byte(`{"N":21}`))
		assert.Equal(t, c.err, err, name)
		assert.Equal(t, c.want, string(out), name)
	}
	assert.Equal(t, []task{{N: 21}, {N: 21}, {N: 21}}, got)
	assert.ErrorIs(t, db.Ping(last), pool.ErrInvocationEnded, "it had a scope")
}

func TestWrapReportsAHandlerThatIsNone(t *testing.T) {
	t.Parallel()
	db := open(t, &logged{})
	for _, handler := range []any{
		nil, 7,
		func(int, int, int) {},
		func() (int, int) { return 1, 2 },
		lambda.NewHandler(func() {}),
	} {
		_, err := invoked(db, handler)(bounded(t), []byte(`{}`))
		assert.Error(t, err)
	}
}

// aws-lambda-go's own Invoke returns the bytes of a buffer that it has just put back
// into its pool, where the next invocation finds it.
func TestWrapDoesNotMixUpReplies(t *testing.T) {
	t.Parallel()
	db := open(t, &logged{})
	type page struct{ Text string }
	h := invoked(db, func(e task) (page, error) { return page{strings.Repeat(fmt.Sprint(e.N), 2000)}, nil })
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 50 {
				out, err := h(bounded(t), fmt.Appendf(nil, `{"N":%d}`, i))
				if !assert.NoError(t, err) {
					return
				}
				var p page
				if !assert.NoError(t, json.Unmarshal(out, &p)) || !assert.Equal(t, strings.Repeat(fmt.Sprint(i), 2000), p.Text) {
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAnOverrunningHandlerKeepsItsPayload(t *testing.T) {
	t.Parallel()
	db := open(t, &logged{})
	reused, read := make(chan struct{}), make(chan string)
	h := invoked(db, handlerFunc(func(_ context.Context, p []byte) ([]byte, error) {
		<-reused
		read <- string(p)
		return nil, nil
	}))
	payload := []byte(`{"order":1}`)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := h(ctx, payload)
	var overrun *lmipool.OverrunError
	require.ErrorAs(t, err, &overrun)
	copy(payload, `{"order":2}`) // as aws-lambda-go does with its buffer
	close(reused)
	assert.Equal(t, `{"order":1}`, <-read)
}

var _ lambda.Handler = handlerFunc(nil)
