package lmipool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/lmitest"
)

type page struct{ Text string }

func pageOf(n int) page { return page{strings.Repeat(fmt.Sprint(n, " "), 2000)} }

// traced are the places for the wrappers of tracing libraries (otellambda.InstrumentHandler,
// ddlambda.WrapFunction), which have this shape: the event's bytes, and any result.
var traced = map[string]func(db *lmipool.Pool) any{
	"around Handler": func(db *lmipool.Pool) any {
		h := lmipool.Handler(db, func(_ context.Context, t task) (page, error) { return pageOf(t.N), nil })
		return func(ctx context.Context, msg json.RawMessage) (any, error) {
			var t task
			if err := json.Unmarshal(msg, &t); err != nil {
				return nil, err
			}
			return h(ctx, t)
		}
	},
	"around Wrap": func(db *lmipool.Pool) any {
		h := lmipool.Wrap(db, func(t task) (page, error) { return pageOf(t.N), nil })
		return func(ctx context.Context, msg json.RawMessage) (any, error) { return h(ctx, msg) }
	},
	"inside Wrap": func(db *lmipool.Pool) any {
		return lmipool.Wrap(db, func(_ context.Context, msg json.RawMessage) (any, error) {
			var t task
			err := json.Unmarshal(msg, &t)
			return pageOf(t.N), err
		})
	},
	// A wrapper of lambda.Handlers around Wrap: the one NewHandler that does not mix up replies.
	"around a lambda.Handler of Wrap": func(db *lmipool.Pool) any {
		inner := lambda.NewHandler(lmipool.Wrap(db, func(t task) (page, error) { return pageOf(t.N), nil }))
		return handlerFunc(func(ctx context.Context, p []byte) ([]byte, error) { return inner.Invoke(ctx, p) })
	},
}

func startTraced(db *lmipool.Pool) { lambda.Start(traced[os.Getenv("PLACE")](db)) }

func TestWrappersOfTracingLibrariesMayStandOutsideOrAroundTheFunction(t *testing.T) {
	t.Parallel()
	for place := range traced {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			ctx := boundedBy(t, time.Minute)
			f, _ := functionWith(t, lmitest.Config{Timeout: 30 * time.Second, Env: []string{"CHILD=traced", "PLACE=" + place}})
			var wg sync.WaitGroup
			for i := range 64 {
				wg.Go(func() {
					for n := i; n < 320; n += 64 {
						r, _ := ask[any](ctx, t, f, task{N: n})
						var got page
						if !assert.NoError(t, json.Unmarshal(r.Payload, &got)) || !assert.Equal(t, pageOf(n), got) {
							return
						}
						if place != "around a lambda.Handler of Wrap" {
							assert.Equal(t, "application/json", r.ContentType)
						}
					}
				})
			}
			wg.Wait()
			assert.Zero(t, f.Stats().FunctionErrors)
		})
	}
}
