package lmitest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/inprocess"
)

// CallOptions says how Call calls a handler. The zero value means 64 calls at once with a timeout of 3 s.
type CallOptions struct {
	// Concurrency is the number of calls at once. Defaults to 64.
	Concurrency int
	// Timeout is the time from the start of each call to its deadline. Defaults to 3 s.
	Timeout time.Duration
	// Check, if it is not nil, fails its test for late replies, panics, and goroutines that go on after their handler. See [Check].
	Check *Checker
}

// Result is the end of one call.
type Result[Out any] struct {
	// RequestID is what the handler saw as its AwsRequestID.
	RequestID string
	// Out and Err are what the handler returned. After a panic Err is a *PanicError.
	Out Out
	Err error
	// Late reports that the handler returned after its deadline. On Lambda the caller has got an error by then. On managed instances Lambda refuses
	// the late answer, which ends the process.
	Late bool
	// Duration is the time that the handler took.
	Duration time.Duration
}

// PanicError reports that a handler panicked. On Lambda the caller gets an error and the process ends.
type PanicError struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is the goroutine's stack.
	Stack []byte

	at []string // where, without frames of Go's runtime and of lmipool
}

// Error returns the value and the stack as text.
func (e *PanicError) Error() string {
	return fmt.Sprintf("lmitest: the handler panicked: %v\n%s", e.Value, e.Stack)
}

// Call calls a handler once for each event, in this process, up to Concurrency at once, with the context that aws-lambda-go would give it: a
// deadline, the request's id and ARN (lambdacontext.FromContext) and the trace id. Unlike Start, Call makes no child process, so the race detector
// and the debugger see the handler. But Call has no Runtime API, and sets none of Lambda's variables.
//
// Results have the order of the events. Call returns when the last handler has returned, however late: as on managed instances, nothing stops a
// handler that ignores its context. If ctx ends, the handlers' contexts end, and events whose handler was not called yet get ctx's error. Call panics
// if handler is nil.
func Call[In, Out any](ctx context.Context, o CallOptions, handler func(context.Context, In) (Out, error), events []In) []Result[Out] {
	setDefault(&o.Concurrency, 64)
	setDefault(&o.Timeout, 3*time.Second)
	results := make([]Result[Out], len(events))
	if handler == nil {
		panic("lmitest: Call: the handler is nil")
	}
	label := uuid()
	room := make(chan struct{}, max(o.Concurrency, 1))
	var wg sync.WaitGroup
	for i, event := range events {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			var where lateness
			labelled(ctx, label, func(ctx context.Context) { callOnce(ctx, o, handler, event, &results[i], &where) })
			if o.Check != nil {
				o.Check.call(results[i].Late, results[i].Err, where.place())
			}
		})
	}
	wg.Wait()
	if o.Check != nil {
		o.Check.findStragglers(label)
	}
	return results
}

func callOnce[In, Out any](ctx context.Context, o CallOptions, handler func(context.Context, In) (Out, error), event In, r *Result[Out], where *lateness) {
	if r.Err = ctx.Err(); r.Err != nil {
		return
	}
	start := time.Now()
	deadline := start.Add(o.Timeout)
	r.RequestID = uuid()
	if o.Check != nil {
		ctx = where.watch(ctx, r.RequestID, o.Timeout)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	ctx = lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{
		AwsRequestID:       r.RequestID,
		InvokedFunctionArn: functionARN("us-east-1", "call"),
	})
	ctx = inprocess.Mark(ctx)
	ctx = context.WithValue(ctx, "x-amzn-trace-id", traceID(start)) //nolint:staticcheck // aws-lambda-go's key

	r.Err = errGoexit // stays if the handler neither returns nor panics
	defer func() {
		if v := recover(); v != nil {
			r.Err = &PanicError{Value: v, Stack: debug.Stack(), at: gostack.Panicked()}
		}
		r.Duration = time.Since(start)
		r.Late = time.Now().After(deadline)
	}()
	r.Out, r.Err = handler(ctx, event)
}

var errGoexit = errors.New("lmitest: the handler ended its goroutine: runtime.Goexit, or t.FailNow in a handler")
