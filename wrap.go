package lmipool

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Wrap is [Handler] for every other shape of handler: all that lambda.NewHandler takes (func(), func(ctx, E) error, ...), and your own
// lambda.Handler. Pass options about JSON, such as lambda.WithUseNumber, to Wrap. Pass the others to lambda.StartWithOptions, together with Wrap's
// result.
//
//	lambda.Start(lmipool.Wrap(db, func(ctx context.Context, e events.SQSEvent) error { ... }))
//
// A func(context.Context, []byte) ([]byte, error), such as durable.Wrap returns, gets the unchanged payload, and its bytes are the reply, as with a
// lambda.Handler's Invoke. aws-lambda-go by itself would make its argument and result base64 in JSON.
//
// The results of Config.OnOverrun and OnPanic are encoded as the handler's own results are, except a []byte, which is sent as it is.
//
// Wrap cannot wrap a handler that returns a stream, since its content type would be lost: use Handler, or HTTPHandler for an http.Handler. It cannot
// wrap the result of lambda.NewHandlerWithOptions either, whose Invoke must not run concurrently: give Wrap the function that the result was made
// from. In both cases each invocation returns an error.
func Wrap(db DB, handler any, options ...lambda.Option) func(context.Context, json.RawMessage) (io.Reader, error) {
	w := wrapped{options}
	invoke := handlerFor("Wrap", db, w.shape(handler), w.encode)
	return func(ctx context.Context, payload json.RawMessage) (io.Reader, error) {
		out, err := invoke(ctx, payload)
		if err != nil {
			return nil, err
		}
		return &encodedReader{bytes.NewReader(out.bytes), out.contentType}, nil
	}
}

const (
	contentJSON  = "application/json"
	contentBytes = "application/octet-stream" // aws-lambda-go sends the reply of a lambda.Handler with this type
)

// encoded is an encoded reply. It is not a reader, so Handler does not take it for a stream.
type encoded struct {
	bytes       []byte
	contentType string
}

// encodedReader is the reply as a reader, which aws-lambda-go sends with its content type. It has no exported field, since aws-lambda-go would then
// send it as JSON.
type encodedReader struct {
	r           *bytes.Reader
	contentType string
}

func (e *encodedReader) Read(p []byte) (int, error) { return e.r.Read(p) }
func (e *encodedReader) ContentType() string        { return e.contentType }

// wrapped has the options that say how JSON is read and written.
type wrapped struct{ options []lambda.Option }

// shape turns handler into a function from bytes to bytes.
func (w wrapped) shape(handler any) func(context.Context, []byte) (encoded, error) {
	refuse := func(err error) func(context.Context, []byte) (encoded, error) {
		return func(context.Context, []byte) (encoded, error) { return encoded{}, err }
	}
	raw := func(f func(context.Context, []byte) ([]byte, error)) func(context.Context, []byte) (encoded, error) {
		return func(ctx context.Context, payload []byte) (encoded, error) {
			out, err := f(ctx, payload)
			return encoded{out, contentBytes}, err
		}
	}
	v := reflect.ValueOf(handler)
	if !v.IsValid() || v.Kind() == reflect.Func && v.IsNil() {
		return refuse(errNoHandler)
	}
	switch h := handler.(type) {
	case func(context.Context, []byte) ([]byte, error):
		return raw(h)
	case lambda.Handler:
		if inner := lambda.NewHandler(handler); any(inner) == handler {
			return refuse(errSharedBuffer)
		}
		return raw(func(ctx context.Context, payload []byte) ([]byte, error) { return h.Invoke(ctx, payload) })
	}
	if t := v.Type(); t.Kind() == reflect.Func && t.NumOut() == 2 {
		if streams[t.Out(0)] {
			return refuse(streamError(t.Out(0)))
		}
		handler = refusingStreams(v)
	}
	// In aws-lambda-go 1.54 Invoke returns a buffer that the next Invoke of the same handler writes into. So each invocation has its own handler
	// until its reply is copied.
	var inners sync.Pool
	return func(ctx context.Context, payload []byte) (encoded, error) {
		inner, ok := inners.Get().(lambda.Handler)
		if !ok {
			inner = lambda.NewHandlerWithOptions(handler, w.options...)
		}
		out, err := inner.Invoke(ctx, payload)
		out = bytes.Clone(out)
		inners.Put(inner)
		return encoded{out, contentJSON}, err
	}
}

// encode encodes v as aws-lambda-go encodes a handler's result.
func (w wrapped) encode(v any) (encoded, error) {
	if b, ok := v.([]byte); ok {
		return encoded{b, contentJSON}, nil
	}
	if isStream(v) {
		return encoded{}, streamError(reflect.TypeOf(v))
	}
	out, err := lambda.NewHandlerWithOptions(func() (any, error) { return v, nil }, w.options...).Invoke(context.Background(), nil)
	return encoded{bytes.Clone(out), contentJSON}, err
}

// streams has aws-lambda-go's response types whose body is read after the handler has returned.
var streams = map[reflect.Type]bool{
	reflect.TypeFor[*events.LambdaFunctionURLStreamingResponse](): true,
	reflect.TypeFor[*events.APIGatewayProxyStreamingResponse]():   true,
}

// isStream reports whether aws-lambda-go would send v by reading it.
func isStream(v any) bool {
	_, reads := v.(io.Reader)
	return reads && !isJSON(v)
}

// refusingStreams returns a function that calls handler and returns an error if the result is a stream.
func refusingStreams(handler reflect.Value) any {
	t := handler.Type()
	if !mayBeStream(t.Out(0)) || t.Out(1) != reflect.TypeFor[error]() {
		return handler.Interface()
	}
	return reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
		out := handler.Call(args)
		v := out[0].Interface()
		if !out[1].IsNil() || !isStream(v) {
			return out
		}
		if c, ok := v.(io.Closer); ok {
			_ = c.Close()
		}
		err := reflect.New(t.Out(1)).Elem()
		err.Set(reflect.ValueOf(streamError(reflect.TypeOf(v))))
		return []reflect.Value{reflect.Zero(t.Out(0)), err}
	}).Interface()
}

func streamError(t reflect.Type) error {
	return pgerr.Say[pgerr.HandlerError](fmt.Sprintf("lmipool: Wrap: the handler returns a stream, a %s, whose content type would be lost: give the function to lmipool.Handler, or the http.Handler that it was made of to lmipool.HTTPHandler", t))
}

var (
	errSharedBuffer = pgerr.Say[pgerr.HandlerError]("lmipool: Wrap: the handler is one that aws-lambda-go made, which mixes up replies if it is invoked concurrently: wrap what it was made from, with the same options")
	errNoHandler    = pgerr.Say[pgerr.HandlerError]("lmipool: Wrap: the handler is nil")
)
