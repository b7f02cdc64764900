package lmipool

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdaurl"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// HTTPHandler is [Handler] for an http.Handler behind a function URL with response streaming. It uses aws-lambda-go's package lambdaurl, which runs h
// in a goroutine that does not recover panics. HTTPHandler recovers them: a panic of h, or runtime.Goexit, becomes a response with status 500. If the
// header was sent already, it ends the stream with an error. As in net/http, http.ErrAbortHandler is not logged.
//
//	lambda.Start(lmipool.HTTPHandler(db, mux))
//
// For API Gateway, give Handler the function that an adapter makes of the
// http.Handler: it serves the request in the goroutine of fn, where a panic is caught.
func HTTPHandler(db DB, h http.Handler) func(context.Context, *events.LambdaFunctionURLRequest) (*events.LambdaFunctionURLStreamingResponse, error) {
	mustBe("HTTPHandler", h)
	_, b := inside("HTTPHandler", db)
	return Handler(db, func(ctx context.Context, req *events.LambdaFunctionURLRequest) (*events.LambdaFunctionURLStreamingResponse, error) {
		safe := &recovering{h: h, b: b}
		resp, err := lambdaurl.Wrap(safe)(ctx, req)
		if err == nil {
			resp.Body = &recoveredBody{resp.Body, &safe.panicked}
		}
		return resp, err
	})
}

// recovering serves one request, and keeps its panic, if any, for the reader of the body.
type recovering struct {
	h        http.Handler
	b        *bulkhead
	panicked atomic.Bool
}

func (s *recovering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &headerWatcher{ResponseWriter: w}
	returned := false
	defer func() {
		v := recover()
		switch {
		case v == nil && returned:
			return
		case v == nil: // h has called runtime.Goexit
			v = &GoexitError{}
		}
		if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			s.report(r.Context(), v)
		}
		if !out.sent {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		s.panicked.Store(true)
	}()
	s.h.ServeHTTP(out, r)
	returned = true
}

func (s *recovering) report(ctx context.Context, v any) {
	if s.b != nil {
		s.b.panics(ctx)
	}
	sayPanic(ctx, s.b, "an http.Handler", v)
}

// headerWatcher is a ResponseWriter that knows whether the header was sent.
type headerWatcher struct {
	http.ResponseWriter
	sent bool
}

func (w *headerWatcher) WriteHeader(code int) {
	w.sent = true
	w.ResponseWriter.WriteHeader(code)
}

func (w *headerWatcher) Write(p []byte) (int, error) {
	w.sent = true
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *headerWatcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var errPanicked = pgerr.Say[pgerr.CallbackPanicError]("lmipool: the http.Handler panicked in the middle of its response")

// recoveredBody ends with an error if the handler panicked. Without it half a response would look complete, since lambdaurl only closes the pipe.
type recoveredBody struct {
	io.Reader
	panicked *atomic.Bool
}

func (b *recoveredBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) && b.panicked.Load() {
		err = errPanicked
	}
	return n, err
}

func (b *recoveredBody) Close() error {
	if c, ok := b.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
