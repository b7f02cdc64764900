package lmipool_test

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdaurl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/lmitest"
)

// Responses with a body that is read later: aws-lambda-go's, and what users make of them.
type (
	ownResponse struct {
		*events.APIGatewayProxyStreamingResponse
		name string
	}
	ownByValue struct {
		events.LambdaFunctionURLStreamingResponse
		name string
	}
	// ownReader is a reader that nothing can stand in for.
	ownReader struct{ body io.Reader }
)

func (r *ownReader) Read(p []byte) (int, error) { return r.body.Read(p) }

// bodyFor is a body that does what t says.
func bodyFor(ctx context.Context, db *lmipool.Pool, t task) io.Reader {
	switch t.Do {
	case "rows":
		next, err := lines(ctx, db, t.N)
		if err != nil {
			panic(err)
		}
		return &source{next: next}
	case "hang":
		return &source{next: func() (string, error) { time.Sleep(t.For); return "", io.EOF }}
	case "panic":
		return &source{next: func() (string, error) { panic("in the body") }}
	case "state":
		state, _ := json.Marshal(stateOf(db))
		return strings.NewReader(string(state))
	}
	return nil // no body
}

// responses are handlers, by the type of their result.
var responses = map[string]func(db *lmipool.Pool, body func(context.Context, task) io.Reader) any{
	"API Gateway": func(db *lmipool.Pool, body func(context.Context, task) io.Reader) any {
		return lmipool.Handler(db, func(ctx context.Context, t task) (*events.APIGatewayProxyStreamingResponse, error) {
			return &events.APIGatewayProxyStreamingResponse{StatusCode: 201, Body: body(ctx, t)}, nil
		})
	},
	"function URL": func(db *lmipool.Pool, body func(context.Context, task) io.Reader) any {
		return lmipool.Handler(db, func(ctx context.Context, t task) (*events.LambdaFunctionURLStreamingResponse, error) {
			return &events.LambdaFunctionURLStreamingResponse{StatusCode: 201, Body: body(ctx, t)}, nil
		})
	},
	"API Gateway, as an interface": func(db *lmipool.Pool, body func(context.Context, task) io.Reader) any {
		return lmipool.Handler(db, func(ctx context.Context, t task) (any, error) {
			return &events.APIGatewayProxyStreamingResponse{StatusCode: 201, Body: body(ctx, t)}, nil
		})
	},
	"API Gateway, embedded": func(db *lmipool.Pool, body func(context.Context, task) io.Reader) any {
		return lmipool.Handler(db, func(ctx context.Context, t task) (*ownResponse, error) {
			return &ownResponse{&events.APIGatewayProxyStreamingResponse{StatusCode: 201, Body: body(ctx, t)}, "mine"}, nil
		})
	},
	"function URL, embedded by value": func(db *lmipool.Pool, body func(context.Context, task) io.Reader) any {
		return lmipool.Handler(db, func(ctx context.Context, t task) (*ownByValue, error) {
			return &ownByValue{events.LambdaFunctionURLStreamingResponse{StatusCode: 201, Body: body(ctx, t)}, "mine"}, nil
		})
	},
	"a reader of one's own": func(db *lmipool.Pool, body func(context.Context, task) io.Reader) any {
		return lmipool.Handler(db, func(ctx context.Context, t task) (*ownReader, error) { return &ownReader{body(ctx, t)}, nil })
	},
	"aws-lambda-go alone": func(_ *lmipool.Pool, body func(context.Context, task) io.Reader) any {
		return func(ctx context.Context, t task) (*events.APIGatewayProxyStreamingResponse, error) {
			return &events.APIGatewayProxyStreamingResponse{StatusCode: 201, Body: body(ctx, t)}, nil
		}
	},
}

func startResponse(db *lmipool.Pool) {
	lambda.Start(responses[os.Getenv("RESPONSE")](db, func(ctx context.Context, t task) io.Reader { return bodyFor(ctx, db, t) }))
}

func TestEachResponseWithABodyThatIsReadLaterIsProtected(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	for name := range responses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := boundedBy(t, time.Minute)
			f, stderr := functionWith(t, lmitest.Config{Timeout: timeout, Env: []string{"CHILD=response", "RESPONSE=" + name, "LMIPOOL_MARGIN=1500ms", "LMIPOOL_REPLY_MARGIN=700ms", "LMIPOOL_MAX_OVERRUNS=64"}})
			if name == "aws-lambda-go alone" || name == "a reader of one's own" {
				r, _ := ask[any](ctx, t, f, task{Do: "hang", For: 2 * timeout})
				if assert.NotNil(t, r.Error) {
					assert.Equal(t, lmitest.TypeTimedOut, r.Error.Type)
				}
				require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Exits == 1 && s.Ready == 1 }))
				assert.Equal(t, 1, f.Stats().LastExit.Code)
				r, _ = ask[any](ctx, t, f, task{Do: "panic"})
				assert.NotNil(t, r.Error)
				require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Exits == 2 }))
				assert.Equal(t, 2, f.Stats().LastExit.Code)
				assert.Equal(t, name == "a reader of one's own", strings.Contains(strings.ReplaceAll(stderr(), `"`, ""), `a handler's stream is of a type that cannot be cut at the deadline, and a panic in its Read ends the process: let the handler return an io.Reader type=*lmipool_test.ownReader`))
				return
			}
			const prelude = `{"statusCode":201}` + "\x00\x00\x00\x00\x00\x00\x00\x00"
			r, _ := ask[any](ctx, t, f, task{Do: "rows", N: 1000})
			assert.Nil(t, r.Error)
			assert.Equal(t, "application/vnd.awslambda.http-integration-response", r.ContentType)
			assert.Equal(t, prelude+numbers(1000), string(r.Payload))
			r, _ = ask[any](ctx, t, f, task{Do: "nothing"})
			assert.Nil(t, r.Error)
			assert.Equal(t, prelude, string(r.Payload), "no body")
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					r, _ := ask[any](ctx, t, f, task{Do: "hang", For: 2 * timeout})
					if assert.NotNil(t, r.Error) {
						assert.Contains(t, r.Error.Message, "the stream was cut")
					}
					assert.Less(t, r.Duration, timeout)
				})
			}
			wg.Wait()
			r, _ = ask[any](ctx, t, f, task{Do: "panic"})
			if assert.NotNil(t, r.Error) {
				assert.Equal(t, "in the body", r.Error.Message)
			}
			assert.Eventually(t, func() bool { return strings.Contains(stderr(), "a stream panicked") }, 30*time.Second, time.Millisecond)
			r, _ = ask[any](ctx, t, f, task{Do: "rows", N: 1e9})
			if assert.NotNil(t, r.Error) {
				assert.Contains(t, r.Error.Message, "the stream was cut")
			}
			until(ctx, t, f, "all is given back", func(s streamState) bool { return s.Acquired == 0 && s.Handlers.Overrunning == 0 })
			assert.Zero(t, f.Stats().LateReplies)
			assert.Zero(t, f.Stats().Exits)
			assert.NotContains(t, stderr(), "cannot be cut")
		})
	}
}

// wrapShapes are handlers for Wrap. "plain" without lmipool has the right content type.
var wrapShapes = map[string]any{
	"a value":          func(context.Context, task) (task, error) { return task{N: 7}, nil },
	"an error only":    func(context.Context) error { return nil },
	"an interface":     func() (any, error) { return map[string]int{"n": 7}, nil },
	"a string":         func() (string, error) { return "<b>&", nil },
	"nothing":          func() {},
	"JSON that reads":  func() (*both, error) { return &both{strings.NewReader("text"), "x"}, nil },
	"bytes":            func() ([]byte, error) { return []byte("abc"), nil },
	"a lambda.Handler": handlerFunc(func(context.Context, []byte) ([]byte, error) { return []byte(`{"n":7}`), nil }),
}

func startWrap(db *lmipool.Pool) {
	handler := wrapShapes[os.Getenv("SHAPE")]
	if os.Getenv("PLAIN") == "" {
		lambda.Start(lmipool.Wrap(db, handler, lambda.WithSetEscapeHTML(true)))
	}
	lambda.StartWithOptions(handler, lambda.WithSetEscapeHTML(true))
}

func TestWrapsRepliesAreThoseOfAwsLambdaGoWithTheirContentType(t *testing.T) {
	t.Parallel()
	for shape := range wrapShapes {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			var replies []*lmitest.Reply
			for _, plain := range []string{"", "PLAIN=1"} {
				f, _ := functionWith(t, lmitest.Config{Concurrency: 2, Env: []string{"CHILD=wrap", "SHAPE=" + shape, plain}})
				r, err := f.Invoke(bounded(t), []byte(`{"N":1}`))
				require.NoError(t, err)
				require.Nil(t, r.Error)
				replies = append(replies, r)
			}
			assert.Equal(t, string(replies[1].Payload), string(replies[0].Payload))
			assert.Equal(t, replies[1].ContentType, replies[0].ContentType)
			assert.Equal(t, replies[1].Streamed, replies[0].Streamed)
		})
	}
}

func TestWrapRefusesStreamsAndSaysWhatToUse(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{})
	closed := false
	for name, c := range map[string]struct {
		handler any
		typ     string
	}{
		"lambdaurl.Wrap":     {lambdaurl.Wrap(mux(db)), "a *events.LambdaFunctionURLStreamingResponse,"},
		"API Gateway's":      {func() (*events.APIGatewayProxyStreamingResponse, error) { t.Error("it runs"); return nil, nil }, "a *events.APIGatewayProxyStreamingResponse,"},
		"an interface":       {func() (any, error) { return &events.APIGatewayProxyStreamingResponse{}, nil }, "a *events.APIGatewayProxyStreamingResponse,"},
		"a reader":           {func(context.Context, any) (io.Reader, error) { return strings.NewReader("text"), nil }, "a *strings.Reader,"},
		"a type of its own":  {func() (*ownReader, error) { return &ownReader{}, nil }, "a *lmipool_test.ownReader,"},
		"one that is closed": {func() (io.ReadCloser, error) { return closer{&closed}, nil }, "a lmipool_test.closer,"},
	} {
		_, err := lmipool.Wrap(db, c.handler)(deadline(t, 3*time.Second), json.RawMessage(`{}`))
		assert.ErrorContains(t, err, c.typ, name)
		assert.ErrorContains(t, err, "give the function to lmipool.Handler, or the http.Handler that it was made of to lmipool.HTTPHandler", name)
	}
	assert.True(t, closed)
	_, err := lmipool.Wrap(db, (func())(nil))(deadline(t, 3*time.Second), nil)
	assert.EqualError(t, err, "lmipool: Wrap: the handler is nil")
}

type closer struct{ closed *bool }

func (closer) Read([]byte) (int, error) { return 0, io.EOF }
func (c closer) Close() error           { *c.closed = true; return nil }

func TestUnderWrapTheReplyInAHandlersPlaceIsEncodedAsItsOwn(t *testing.T) {
	t.Parallel()
	reply := events.APIGatewayProxyResponse{StatusCode: 504, Body: "<late>"}
	want, err := lambda.NewHandlerWithOptions(func() (any, error) { return reply, nil }, lambda.WithSetIndent("", " "), lambda.WithSetEscapeHTML(true)).Invoke(t.Context(), nil)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		out  any
		want string
		err  string
	}{
		"a struct":  {reply, string(want), ""},
		"bytes":     {[]byte(`{"n": 7}`), `{"n": 7}`, ""},
		"nothing":   {nil, "null\n", ""}, // as aws-lambda-go, which keeps the end of the line with an indent
		"a channel": {make(chan int), "", "json: unsupported type: chan int"},
		"a stream":  {&events.APIGatewayProxyStreamingResponse{}, "", "lmipool: Wrap: the handler returns a stream"},
	} {
		made := func(context.Context, any) (any, error) { return c.out, nil }
		db := openManaged(t, &logged{}, lmipool.Config{
			Margin: time.Second, ReplyMargin: 800 * time.Millisecond,
			OnOverrun: func(ctx context.Context, in any) (any, error) {
				assert.Equal(t, []byte(`{"N":1}`), in, "the payload")
				return made(ctx, in)
			},
			OnPanic: func(ctx context.Context, in, _ any) (any, error) { return made(ctx, in) },
		})
		hang := hanging[int](t)
		for _, handler := range []any{
			func() { panic("boom") },
			func(ctx context.Context) (int, error) { return hang(ctx, 1) },
		} {
			out, err := lmipool.Wrap(db, handler, lambda.WithSetIndent("", " "), lambda.WithSetEscapeHTML(true))(deadline(t, 2*time.Second), json.RawMessage(`{"N":1}`))
			if c.err != "" {
				assert.ErrorContains(t, err, c.err, name)
				continue
			}
			if assert.NoError(t, err, name) {
				got, err := io.ReadAll(out)
				require.NoError(t, err)
				assert.Equal(t, c.want, string(got), name)
			}
		}
	}
}
