package lmipool

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/aws/aws-lambda-go/lambda"
)

// Wrap is [Handler] for every other shape of handler: whatever lambda.NewHandler
// takes (func(), func(ctx, E) error, ...), and a lambda.Handler of one's own. options
// are those about JSON, such as lambda.WithUseNumber; the others belong to
// lambda.StartWithOptions.
//
//	lambda.Start(lmipool.Wrap(db, func(ctx context.Context, e events.SQSEvent) error { ... }))
//
// A lambda.Handler returns bytes, so it cannot stream: use Handler with a result of
// type io.Reader for that. The payload that the handler gets is its own copy, because
// aws-lambda-go uses its buffer again after the reply, which a handler that overruns
// may outlive. What lambda.NewHandlerWithOptions returns is refused, because its Invoke
// cannot be used by several invocations at once: give Wrap what it was made from.
func Wrap(db DB, handler any, options ...lambda.Option) lambda.Handler {
	inside("Wrap", db)
	if inner := lambda.NewHandler(handler); any(inner) == handler {
		return bytesHandler(func(context.Context, []byte) ([]byte, error) { return nil, errSharedBuffer })
	}
	// Invoke puts the buffer with its reply back before it returns it, and the next
	// invocation of the same handler writes into it (aws-lambda-go 1.54). So each
	// has one to itself until the reply is copied.
	var inners sync.Pool
	return bytesHandler(handlerFor("Wrap", db, func(ctx context.Context, payload []byte) ([]byte, error) {
		inner, ok := inners.Get().(lambda.Handler)
		if !ok {
			inner = lambda.NewHandlerWithOptions(handler, options...)
		}
		out, err := inner.Invoke(ctx, payload)
		out = bytes.Clone(out)
		inners.Put(inner)
		return out, err
	}))
}

var errSharedBuffer = errors.New("lmipool: Wrap: the handler is one that aws-lambda-go made, which mixes up replies if it is invoked concurrently: wrap what it was made from, with the same options")

type bytesHandler func(context.Context, []byte) ([]byte, error)

func (h bytesHandler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return h(ctx, bytes.Clone(payload))
}
