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
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/lmipool/lmipool/pool"
)

// StreamCutError ends a stream that was not read to its end when the handler's ctx ended. aws-lambda-go ends the response with an error trailer that
// has this type, so the client knows that the response is not complete.
type StreamCutError struct{}

func (*StreamCutError) Error() string {
	return "lmipool: the stream was cut shortly before the invocation's deadline"
}

// Unwrap makes errors.Is(err, context.DeadlineExceeded) true.
func (*StreamCutError) Unwrap() error { return context.DeadlineExceeded }

// ending ends a scope when the handler returns, unless take has given that task to a stream.
type ending struct{ scope *pool.Scope }

func (e *ending) end() { e.scope.End() }

// take returns the scope, which the caller must end from now on.
func (e *ending) take() *pool.Scope {
	s := e.scope
	e.scope = nil
	return s
}

// mayBeStream reports whether a result of type t can be an io.Reader.
func mayBeStream(t reflect.Type) bool {
	return t.Kind() == reflect.Interface || t.Implements(reflect.TypeFor[io.Reader]())
}

// bodyOf returns the address of src's Body if src is, or embeds, one of aws-lambda-go's streaming responses.
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

// keepStream returns out, or a reader to return instead if out is a stream. It keeps the scope of a stream until the stream has been read.
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
		// Out is the user's own reader type, so no other value can replace it. ctx ends when aws-lambda-go has sent the response, or at the margin.
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

// sayUncut warns once that a stream of src's type is not cut, and that its panics are not caught. It does not warn if src is in memory, since such a
// reader neither hangs nor panics.
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

// isJSON reports whether aws-lambda-go sends the reader v as JSON. It does so unless v's JSON is {}.
func isJSON(v any) bool {
	encoded, err := json.Marshal(v)
	return err == nil && !bytes.HasPrefix(encoded, []byte("{}"))
}

type contentTyper interface{ ContentType() string }

// stream is a reader that can be cut: a goroutine reads what fn returned, and if it hangs in a Read, the response can end all the same. It has no
// exported field, since aws-lambda-go would then send it as JSON.
type stream struct{ r *io.PipeReader }

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// Close tells the goroutine that writes to the stream that nobody will read the rest.
func (s *stream) Close() error { return s.r.Close() }

type typedStream struct {
	*stream
	contentType string
}

func (s *typedStream) ContentType() string { return s.contentType }

// staying keeps an invocation whose handler has returned, and its scope, until end is called. end may be called more than once.
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

// newStream starts to read src. The scope ends when src is read or ctx ends.
func (h *handler[In, Out]) newStream(ctx context.Context, src io.Reader, scope *pool.Scope) *stream {
	r, w := io.Pipe()
	end := h.staying(scope)
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		w.CloseWithError(&StreamCutError{})
		end()
		if h.bulkhead != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			h.overran(ctx, time.Time{})
			<-over // waits while the source hangs
			h.cameBack()
		}
	})
	go func() {
		defer close(over)
		err := h.copyStream(ctx, w, src)
		if !stop() && err != nil {
			err = &StreamCutError{} // ctx has ended, and StreamCutError replaces src's own error for that
		}
		end()
		w.CloseWithError(err)
	}()
	return &stream{r}
}

// copyStream copies src to w and closes src. It turns a panic of src into an error, since a panic in this goroutine would end the process.
func (h *handler[In, Out]) copyStream(ctx context.Context, w io.Writer, src io.Reader) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicReply(v)
			if h.bulkhead != nil {
				h.panics(ctx)
			}
			sayPanic(ctx, h.bulkhead, "a stream", v)
		}
	}()
	if c, ok := src.(io.Closer); ok {
		defer c.Close()
	}
	_, err = io.Copy(w, src)
	return err
}
