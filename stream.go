package lmipool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"sync"

	"github.com/aws/aws-lambda-go/events"

	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/pool"
)

// StreamCutError ends a stream whose time is over. aws-lambda-go ends the response with
// an error trailer that has this type, so the client knows that it is not whole.
type StreamCutError struct{}

func (*StreamCutError) Error() string {
	return "lmipool: the stream was cut shortly before the invocation's deadline"
}

// Unwrap makes errors.Is(err, context.DeadlineExceeded) true.
func (*StreamCutError) Unwrap() error { return context.DeadlineExceeded }

// ending ends a scope, unless a stream has taken that over.
type ending struct{ scope *pool.Scope }

func (e *ending) end() { e.scope.End() }

// take leaves the end of the scope to the caller.
func (e *ending) take() *pool.Scope {
	s := e.scope
	e.scope = nil
	return s
}

// mayBeStream reports whether a result of type t can be an io.Reader.
func mayBeStream(t reflect.Type) bool {
	return t.Kind() == reflect.Interface || t.Implements(reflect.TypeFor[io.Reader]())
}

// bodyOf is where src keeps the body that is read later, if src is a response of
// aws-lambda-go's, or embeds one.
func bodyOf(src any) (body *io.Reader, found bool) {
	switch r := src.(type) {
	case *events.LambdaFunctionURLStreamingResponse:
		if r != nil {
			body = &r.Body
		}
		return body, true
	case *events.APIGatewayProxyStreamingResponse:
		if r != nil {
			body = &r.Body
		}
		return body, true
	}
	v := reflect.ValueOf(src)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil, false
	}
	for i := range v.NumField() {
		field := v.Field(i)
		if !v.Type().Field(i).Anonymous || !field.CanInterface() {
			continue
		}
		if field.CanAddr() && field.Kind() == reflect.Struct {
			field = field.Addr()
		}
		if body, found = bodyOf(field.Interface()); found {
			return body, true
		}
	}
	return nil, false
}

// keepStream lets the scope live until out has been read, if out is a stream.
func (h *handler[In, Out]) keepStream(ctx context.Context, e *ending, out Out, err error) Out {
	if !h.streams || err != nil {
		return out
	}
	src, ok := any(out).(io.Reader)
	if !ok || isJSON(src) {
		return out
	}
	if body, ok := bodyOf(src); ok {
		if body != nil && *body != nil {
			*body = h.newStream(ctx, *body, e.take())
		}
		return out
	}
	// aws-lambda-go asks a stream for its content type.
	var s any = (*stream)(nil)
	typed, hasType := src.(contentTyper)
	if hasType {
		s = (*typedStream)(nil)
	}
	if _, ok := s.(Out); !ok {
		// A reader type of the user's own, which nothing can stand in for. ctx ends
		// when aws-lambda-go has sent the response, or at the margin.
		h.sayUncut(src)
		end := h.staying(e.take())
		context.AfterFunc(ctx, end)
		return out
	}
	stream := h.newStream(ctx, src, e.take())
	s = stream
	if hasType {
		s = &typedStream{stream, typed.ContentType()}
	}
	return s.(Out)
}

// sayUncut says once that a stream of this type is neither cut nor kept from panicking,
// unless it is in memory.
func (h *handler[In, Out]) sayUncut(src io.Reader) {
	switch src.(type) {
	case *bytes.Buffer, *bytes.Reader, *strings.Reader:
		return
	}
	if h.bulkhead == nil || !h.standIn && !h.catchPanics {
		return
	}
	h.uncut.Do(func() {
		h.log.Warn("lmipool: a handler's stream is of a type that cannot be cut at the deadline, and a panic in its Read ends the process: let the handler return an io.Reader",
			slog.String("type", typeName(src)))
	})
}

// isJSON reports whether aws-lambda-go sends v as JSON although it is a reader: it
// does unless v encodes to nothing.
func isJSON(v any) bool {
	encoded, err := json.Marshal(v)
	return err == nil && !bytes.HasPrefix(encoded, []byte("{}"))
}

type contentTyper interface{ ContentType() string }

// stream is a reader that can be cut: what fn returned is read by a goroutine, which
// may hang in a Read without holding the response up. It has no exported field, or
// aws-lambda-go would send it as JSON.
type stream struct{ r *io.PipeReader }

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// Close tells the writer that nobody reads on.
func (s *stream) Close() error { return s.r.Close() }

type typedStream struct {
	*stream
	contentType string
}

func (s *typedStream) ContentType() string { return s.contentType }

// staying keeps the invocation, whose handler has returned, until the func that it returns
// is called, once or more.
func (h *handler[In, Out]) staying(scope *pool.Scope) (end func()) {
	if h.bulkhead != nil {
		h.stay()
	}
	return sync.OnceFunc(func() {
		scope.End()
		if h.bulkhead != nil {
			h.leave()
		}
	})
}

// newStream starts to read src. The scope ends when that is done, or ctx is.
func (h *handler[In, Out]) newStream(ctx context.Context, src io.Reader, scope *pool.Scope) *stream {
	r, w := io.Pipe()
	end := h.staying(scope)
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		w.CloseWithError(&StreamCutError{})
		end()
		if h.bulkhead != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			h.overran()
			<-over // as long as the source hangs
			h.cameBack()
		}
	})
	go func() {
		defer close(over)
		err := h.copyStream(ctx, w, src)
		if !stop() && err != nil {
			err = &StreamCutError{} // that src noticed ctx's end first makes no difference
		}
		end()
		w.CloseWithError(err)
	}()
	return &stream{r}
}

// copyStream copies src to w and closes it. Its panic is its error: here it would
// end the process.
func (h *handler[In, Out]) copyStream(ctx context.Context, w io.Writer, src io.Reader) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicReply(v)
			log := safelog.Guard(slog.Default())
			if h.bulkhead != nil {
				log = h.log
				h.panics()
			}
			sayPanic(ctx, log, "a stream", v)
		}
	}()
	if c, ok := src.(io.Closer); ok {
		defer c.Close()
	}
	_, err = io.Copy(w, src)
	return err
}
