package lmipool

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/pool"
)

// Handler wraps fn for lambda.Start, so that each invocation has a scope of its
// own: whatever fn acquired under its ctx, from db or any other pool of lmipool's,
// and did not give back, is taken back when fn returns or panics, and logged with
// the stack that acquired it. What is left running then gets
// [pool.ErrInvocationEnded] from every further use, rather than somebody else's
// connection. The scope's name is the invocation's AwsRequestID. Work that is to
// outlive its invocation takes a ctx from [Detach].
//
// On managed instances, where Lambda neither stops a handler at its deadline nor
// forgives a late reply (it ends the process with everything in flight), Handler
// also keeps one bad invocation from its neighbours:
//
//   - fn's ctx ends [Config.Margin] before the deadline. If fn has not returned by
//     [Config.ReplyMargin] before it, Handler answers in its place with an
//     [*OverrunError], or what [Config.OnOverrun] returns, and ends the scope. fn
//     runs on, in vain, and is forgotten when it returns. Until then in is fn's.
//   - A panic of fn, and runtime.Goexit, is an error reply as aws-lambda-go makes
//     it, logged with request id and stack, and the process lives. Panics in
//     goroutines that fn starts cannot be caught, nor those in a MarshalJSON of its
//     result, which aws-lambda-go calls when Handler has returned.
//   - Beyond [Config.MaxOverruns] or [Config.MaxPanics] it stands down: new
//     invocations are refused, what runs is finished, and the process ends, so that
//     Lambda replaces the environment. The type of the replies' error asks
//     aws-lambda-go for that. If something around the handler swallows it, so that
//     an invocation begins 5 s later all the same, Handler ends the process itself
//     (exit status 1) when nothing runs any more.
//   - An invocation whose deadline is over when it comes gets a
//     [*DeadlinePassedError]. A deadline more than 24 hours away, or past, is none:
//     emulators send such.
//
// If fn returns an io.Reader, its scope stays until that is read or closed, and the
// stream is cut with an error at the end of fn's ctx. For that the reader is
// replaced if Out is an interface, such as io.Reader, and the Body of a response of
// package events if Out is one, or embeds one. An Out of another reader type
// keeps its value, its stream is cut only in so far as it uses the scope, and a
// warning says so.
//
// db is the interface, so the same wrapped handler runs in a unit test with a mock
// or a plain *pgxpool.Pool; with those, and with LMIPOOL_PLAIN=on, Handler just
// returns fn. What [Pool.With] returns counts as its pool, and so does a type that
// embeds one, or has the method Unwrap() DB. With a [pool.Pool] of one's own there
// are scopes and no more. On managed instances one warning for each type says what
// is not protected. A nil db or fn is a panic.
func Handler[In, Out any](db DB, fn func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return handlerFor("Handler", db, fn, nil)
}

// handlerFor is Handler, for the function that panics name. encode, if not nil, makes an
// Out of what OnOverrun and OnPanic return.
func handlerFor[In, Out any](who string, db DB, fn func(context.Context, In) (Out, error), encode func(any) (Out, error)) func(context.Context, In) (Out, error) {
	mustBe(who, fn)
	scopes, b := inside(who, db)
	if b == nil {
		warnUnprotected(db, scopes, slog.Default())
	}
	if scopes == nil {
		return fn
	}
	h := &handler[In, Out]{scoper: scopes, bulkhead: b, fn: fn, encode: encode, streams: mayBeStream(reflect.TypeFor[Out]())}
	return h.invoke
}

// scoper is what of a DB makes it lmipool's.
type scoper interface {
	OpenScope(ctx context.Context, name string, deadline time.Time) (context.Context, *pool.Scope)
}

// bulkheaded is what makes it this package's.
type bulkheaded interface{ opened() *Pool }

func (p *Pool) opened() *Pool { return p }

type handler[In, Out any] struct {
	scoper
	*bulkhead // nil: scopes only
	fn        func(context.Context, In) (Out, error)
	encode    func(any) (Out, error) // nil: what OnOverrun and OnPanic return is an Out
	streams   bool                   // a result of fn may be an io.Reader
	uncut     sync.Once              // one of a type that nothing can stand in for was named
	runs      sync.Pool
}

// reply is what fn returned, or what stands for it.
type reply[Out any] struct {
	out Out
	err error
}

func (h *handler[In, Out]) invoke(ctx context.Context, in In) (out Out, err error) {
	if ctx == nil {
		panic("lmipool: Handler: the ctx is nil: use context.Background")
	}
	var p plan
	within := ctx
	if h.bulkhead != nil {
		p = h.plan(ctx)
	}
	if p.undated {
		within = context.WithoutCancel(ctx)
	}
	scoped, scope := h.OpenScope(within, requestID(ctx), p.fnUntil)
	if scope == nil { // plain, or inside another Handler, which does the rest
		return h.fn(ctx, in)
	}
	if h.bulkhead != nil {
		if err := h.enter(ctx); err != nil {
			scope.End()
			return out, err
		}
		defer h.leave()
		if p.absurd {
			h.sayAbsurd(ctx)
		}
	}
	if p.late != nil {
		scope.End()
		return out, p.late
	}
	if !p.protect {
		e := &ending{scope}
		defer e.end()
		out, err = h.fn(scoped, in)
		return h.keepStream(scoped, e, out, err), err
	}
	run := h.newRun(scope, p.began)
	go h.call(scoped, in, run)
	if !p.standIn {
		return h.finish(scoped, run, <-run.done)
	}
	if r, ok := h.await(ctx, scoped, &p, run); ok {
		return h.finish(scoped, run, r)
	}
	run.end()
	return h.overrun(ctx, in, p, run)
}

// await waits for fn's reply, and ends its ctx when the margin begins. It returns false when
// it is time to answer in its place.
func (h *handler[In, Out]) await(ctx, scoped context.Context, p *plan, run *run[Out]) (r reply[Out], ok bool) {
	t := time.NewTimer(time.Until(p.lookAt))
	defer t.Stop()
	for ended := false; !ended; {
		select {
		case r = <-run.done:
			h.returned(ctx, true)
			return r, true
		case <-scoped.Done():
			ended = true
		case <-t.C:
			h.late.saw(time.Since(p.lookAt))
			if ended = h.look(p); ended {
				run.scope.Cancel()
			}
			t.Reset(lookEvery)
		}
	}
	h.late.saw(time.Since(p.fnUntil))
	h.look(p)
	t.Reset(time.Until(p.replyBy))
	defer h.returned(ctx, false)
	select {
	case r = <-run.done:
		return r, true
	case <-t.C:
		h.late.saw(time.Since(p.replyBy))
		return r, false
	}
}

// run is one call of fn in a goroutine of its own.
type run[Out any] struct {
	ending
	label gostack.Label
	asked time.Time       // when the invocation came, if it has a deadline
	done  chan reply[Out] // gets exactly one, and that is fn's goroutine's last touch
}

func (h *handler[In, Out]) newRun(scope *pool.Scope, asked time.Time) *run[Out] {
	r, ok := h.runs.Get().(*run[Out])
	if !ok {
		r = &run[Out]{done: make(chan reply[Out], 1)}
		r.label = gostack.NewLabel(r)
	}
	r.scope, r.asked = scope, asked
	return r
}

// finish ends the scope of a run that has returned, and makes room for the next.
func (h *handler[In, Out]) finish(ctx context.Context, run *run[Out], r reply[Out]) (Out, error) {
	out := h.keepStream(ctx, &run.ending, r.out, r.err)
	run.end()
	run.scope = nil
	h.runs.Put(run)
	return out, r.err
}

// call runs fn and sends exactly one reply, whatever fn does.
func (h *handler[In, Out]) call(ctx context.Context, in In, run *run[Out]) {
	run.label.Set()
	if !run.asked.IsZero() {
		h.late.saw(time.Since(run.asked))
	}
	r := reply[Out]{err: &GoexitError{}} // until fn, or OnPanic, has returned
	returned := false
	defer func() { run.done <- r }()
	defer func() {
		switch v := recover(); {
		case v != nil:
			sayPanic(ctx, h.log, "a handler", v)
			r.out, r.err = h.panicked(ctx, in, v, panicReply(v))
		case !returned:
			h.log.Error("lmipool: a handler ended its goroutine without a reply",
				slog.String("request_id", requestID(ctx)), slog.String("stack", string(debug.Stack())))
		}
	}()
	r.out, r.err = h.fn(ctx, in)
	returned = true
}

// panicked is the reply for a panic of fn with v.
func (h *handler[In, Out]) panicked(ctx context.Context, in In, v any, reply error) (out Out, err error) {
	exit := h.panics()
	if !h.catchPanics { // as without lmipool, but for the goroutine
		if _, own := v.(messages.InvokeResponse_Error); own {
			return out, reply
		}
		h.giveUp()
		return out, h.ask(reply)
	}
	if h.onPanic != nil {
		out, err = h.custom(ctx, "OnPanic", func() (any, error) { return h.onPanic(ctx, in, v) })
	} else {
		err = reply
	}
	if exit && err != nil {
		err = h.ask(err)
	}
	return out, err
}

// overrun answers for fn, which did not return in time.
func (h *handler[In, Out]) overrun(ctx context.Context, in In, p plan, run *run[Out]) (out Out, err error) {
	exit := h.overran()
	go h.forget(ctx, p, run, exit)
	out, err = h.standInReply(ctx, in, p)
	if exit && err != nil {
		err = h.ask(err)
	}
	return out, err
}

// standInReply is OnOverrun's, if there is one and it returns in time,
// else an OverrunError.
func (h *handler[In, Out]) standInReply(ctx context.Context, in In, p plan) (out Out, err error) {
	overrun := &OverrunError{After: p.replyBy.Sub(p.began)}
	if h.onOverrun == nil {
		return out, overrun
	}
	done := make(chan reply[Out], 1)
	go func() {
		var r reply[Out]
		r.out, r.err = h.custom(ctx, "OnOverrun", func() (any, error) { return h.onOverrun(ctx, in) })
		done <- r
	}()
	t := time.NewTimer(time.Until(p.replyBy) + p.spare)
	defer t.Stop()
	select {
	case r := <-done:
		return r.out, r.err
	case <-t.C:
		h.log.Error("lmipool: Config.OnOverrun did not return in time; the reply is the plain error")
		return out, overrun
	}
}

// custom runs a function of the user's that makes a reply, and gives it its type.
func (h *handler[In, Out]) custom(ctx context.Context, name string, f func() (any, error)) (out Out, err error) {
	defer func() {
		if v := recover(); v != nil {
			sayPanic(ctx, h.log, "Config."+name, v)
			err = panicReply(v)
		}
	}()
	v, err := f()
	switch {
	case err != nil:
		return out, err
	case h.encode != nil:
		return h.encode(v)
	case v == nil:
		return out, nil
	}
	out, ok := v.(Out)
	if !ok {
		return out, pgerr.Say[pgerr.ReplyTypeError](fmt.Sprintf("lmipool: Config.%s returned a %T for a handler that returns %s", name, v, reflect.TypeFor[Out]()))
	}
	return out, nil
}

// forget waits for a handler that was answered for, so that somebody knows what
// becomes of it: its stack is logged soon, its return later. Not at once, unless the
// process is to end: many may overrun together, and a goroutine profile and a long
// log line for each would delay the replies in their place beyond the deadline.
func (h *handler[In, Out]) forget(ctx context.Context, p plan, run *run[Out], exit bool) {
	request := requestID(ctx)
	var r reply[Out]
	wait := time.Until(p.replyBy.Add(2 * p.spare)) // the deadline
	if exit {
		wait = 0
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case r = <-run.done:
	case <-t.C:
		h.log.Error("lmipool: a handler did not return before its deadline; it was answered for and runs on",
			slog.String("request_id", request), slog.Duration("had", p.replyBy.Sub(p.began)), slog.Any("stacks", run.label.StacksIn(h.profiles.Since(time.Now()))))
		r = <-run.done
	}
	h.cameBack()
	if r.err == nil {
		h.closeLate(ctx, r.out)
	}
	h.log.Warn("lmipool: a handler that overran has returned",
		slog.String("request_id", request), slog.Duration("late", time.Since(p.replyBy)), slog.Any("error", r.err))
}

// closeLate closes a result that nobody reads. Unclosed, its writer (lambdaurl's,
// say) waits for ever.
func (h *handler[In, Out]) closeLate(ctx context.Context, out Out) {
	defer func() {
		if v := recover(); v != nil { // the Close of a nil *events.LambdaFunctionURLStreamingResponse does
			sayPanic(ctx, h.log, "closing a late result", v)
		}
	}()
	if c, ok := any(out).(io.Closer); ok {
		_ = c.Close()
	}
}

// requestID names the invocation; outside Lambda, in a test say, it has no name.
func requestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}
