package lmipool

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/pool"
)

// Handler wraps fn for lambda.Start, so that each invocation has its own scope. When fn returns or panics, the scope takes back whatever fn acquired
// with its ctx, from db or another lmipool pool, and did not give back. A log line shows the stack that acquired it. fn's goroutines that still run
// get [pool.ErrInvocationEnded] from then on, and never another invocation's connection. The scope's name is the invocation's AwsRequestID. Work that
// is to go on after its invocation needs a ctx from [Detach].
//
// On managed instances Lambda does not stop a handler at its deadline, and after a late reply it ends the process with all its invocations. So there
// Handler also protects the other invocations from a bad one:
//
//   - fn's ctx ends [Config.Margin] before the deadline. If fn has not returned by [Config.ReplyMargin] before the deadline, Handler ends the scope
//     and replies in fn's place with an [*OverrunError], or with what [Config.OnOverrun] returns. fn runs on, and its result is dropped. Until fn
//     returns, no other code may change in.
//   - A panic of fn, or runtime.Goexit, becomes the error reply that aws-lambda-go would make, and is logged with request id and stack. The process
//     goes on. An error whose method Error panics, such as a nil *MyError, counts as a panic. Handler cannot catch panics in goroutines that fn starts, nor in a MarshalJSON of its result, which aws-lambda-go calls after Handler
//     has returned.
//   - After more overruns than [Config.MaxOverruns], or more panics than [Config.MaxPanics], the process stands down: Handler refuses new
//     invocations, those that run are finished, and the process ends, so that Lambda replaces the environment. The type of the error replies asks
//     aws-lambda-go to end the process. If something around the handler replaces that error, and an invocation still begins 5 s later, Handler ends
//     the process itself (exit status 1) as soon as no invocation runs.
//   - An invocation whose deadline has passed when it comes gets a [*DeadlinePassedError]. A deadline more than 24 hours in the future or past counts
//     as no deadline, since emulators send such deadlines.
//
// If fn returns an io.Reader, its scope lasts until the reader is read to its end or closed. If fn's ctx ends before, the stream is cut with an
// error. To do that, Handler replaces the reader if Out is an interface, such as io.Reader, or the Body if Out is, or embeds, a streaming response of
// package events. A reader of any other type is not replaced: it is cut only where it uses the scope, and a warning says so.
//
// db may also be a mock or a plain *pgxpool.Pool, as in a unit test: then, and with LMIPOOL_PLAIN=on, Handler does nothing but call fn. A Bound from
// [Pool.With] counts as its pool, and so does a type that embeds a pool, or has the method Unwrap() DB. With a [pool.Pool] that is not from [Open],
// Handler makes scopes and nothing else. On managed instances one warning for each type says what is not protected. Handler panics if db or fn is
// nil.
func Handler[In, Out any](db DB, fn func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return handlerFor("Handler", db, fn, nil)
}

// handlerFor does the work of Handler and Wrap. who is the caller's name, for the texts of panics. If encode is not nil, it makes an Out of what
// OnOverrun and OnPanic return.
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

type handler[In, Out any] struct {
	scoper
	*bulkhead // if nil, the handler makes scopes and nothing else
	fn        func(context.Context, In) (Out, error)
	encode    func(any) (Out, error) // if nil, OnOverrun and OnPanic return an Out
	streams   bool                   // fn's result can be an io.Reader
	uncut     sync.Once              // logs once that a stream is of a type that cannot be cut
	runs      sync.Pool
}

// reply is what fn returned, or the reply that Handler made for it.
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
	if scope == nil { // Config.Plain is On, or this handler is inside another Handler, which does the rest
		return h.fn(ctx, in)
	}
	if h.bulkhead != nil {
		began, err := h.enter(ctx)
		if err != nil {
			scope.End()
			return out, err
		}
		defer h.replied(began)
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
	go run.mark.Run(func() { h.call(scoped, in, run) })
	if !p.standIn {
		return h.finish(scoped, run, <-run.done)
	}
	if r, ok := h.await(ctx, scoped, &p, run); ok {
		return h.finish(scoped, run, r)
	}
	run.end()
	return h.overrun(ctx, in, p, run)
}

// await waits for fn's reply, and ends fn's ctx when Margin begins. If fn has not replied when ReplyMargin begins, ok is false, and the caller must
// reply for fn.
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
	mark  gostack.Mark
	asked time.Time       // when the invocation came, if it has a deadline
	done  chan reply[Out] // gets exactly one reply; after that fn's goroutine does not use the run
}

func (h *handler[In, Out]) newRun(scope *pool.Scope, asked time.Time) *run[Out] {
	r, ok := h.runs.Get().(*run[Out])
	if !ok {
		r = &run[Out]{done: make(chan reply[Out], 1)}
	}
	r.scope, r.asked = scope, asked
	return r
}

// finish ends the scope of a run whose fn has replied, and keeps the run for reuse.
func (h *handler[In, Out]) finish(ctx context.Context, run *run[Out], r reply[Out]) (Out, error) {
	out := h.keepStream(ctx, &run.ending, r.out, r.err)
	run.end()
	run.scope = nil
	h.runs.Put(run)
	return out, r.err
}

// call runs fn and sends exactly one reply to run.done, even if fn panics or ends its goroutine.
func (h *handler[In, Out]) call(ctx context.Context, in In, run *run[Out]) {
	if !run.asked.IsZero() {
		h.late.saw(time.Since(run.asked))
	}
	r := reply[Out]{err: &GoexitError{}} // the reply if fn calls runtime.Goexit
	returned := false
	defer func() { run.done <- r }()
	defer func() {
		switch v := recover(); {
		case v != nil:
			sayPanic(ctx, h.bulkhead, "a handler", v)
			r.out, r.err = h.panicked(ctx, in, v, panicReply(v))
		case !returned:
			h.log.Error("lmipool: a handler ended its goroutine without a reply",
				safelog.Request(requestID(ctx)), slog.Any("stack", gostack.Panicked()))
		}
	}()
	if r.out, r.err = h.fn(ctx, in); r.err != nil {
		r.err = sendable(r.err)
	}
	returned = true
}

// panicked returns the reply for a panic of fn with the value v.
func (h *handler[In, Out]) panicked(ctx context.Context, in In, v any, reply error) (out Out, err error) {
	exit := h.panics(ctx)
	if !h.catchPanics { // then the panic goes on as without lmipool, except that fn ran in a goroutine of its own
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

// overrun replies for fn, which did not return in time.
func (h *handler[In, Out]) overrun(ctx context.Context, in In, p plan, run *run[Out]) (out Out, err error) {
	exit := h.overran(ctx, p.began)
	go h.forget(ctx, p, run, exit)
	out, err = h.standInReply(ctx, in, p)
	if exit && err != nil {
		err = h.ask(err)
	}
	return out, err
}

// standInReply returns what OnOverrun returns, or an OverrunError if OnOverrun is not set or does not return in time.
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
		h.log.Error("lmipool: Config.OnOverrun did not return in time; the reply is the plain error", safelog.Request(requestID(ctx)))
		return out, overrun
	}
}

// custom runs f, which is OnOverrun or OnPanic, and converts its reply to Out.
func (h *handler[In, Out]) custom(ctx context.Context, name string, f func() (any, error)) (out Out, err error) {
	defer func() {
		if v := recover(); v != nil {
			sayPanic(ctx, h.bulkhead, "Config."+name, v)
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

// forget waits for a handler that overran, logs its stack at the deadline, and logs when it returns. Only if the process is to end, it logs the stack
// at once. Many handlers may overrun together, and a goroutine profile and a long log line for each would delay their replies beyond the deadline. The
// log has one line a minute at most for handlers that hang at one place.
func (h *handler[In, Out]) forget(ctx context.Context, p plan, run *run[Out], exit bool) {
	place := "" // a handler that returned before its deadline has no stack
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
		stacks := run.mark.StacksIn(h.profiles.Since(time.Now()))
		if len(stacks) > 0 {
			place = strings.Join(stacks[0], "\n")
		}
		h.logAt(slog.LevelError, place, "lmipool: a handler did not return before its deadline; it was answered for and runs on",
			safelog.Request(requestID(ctx)), safelog.Ms("had", p.replyBy.Sub(p.began)), slog.Any("stacks", stacks))
		r = <-run.done
	}
	h.cameBack()
	if r.err == nil {
		h.closeLate(ctx, r.out)
	}
	var failed slog.Attr
	if r.err != nil {
		failed = slog.Any("error", r.err)
	}
	h.logAt(slog.LevelWarn, place, "lmipool: a handler that overran has returned",
		safelog.Request(requestID(ctx)), safelog.Ms("late", time.Since(p.replyBy)), failed)
}

// closeLate closes the result of a handler that overran. Nobody reads that result, so its writer (lambdaurl's, for example) would wait for ever if it
// were not closed.
func (h *handler[In, Out]) closeLate(ctx context.Context, out Out) {
	defer func() {
		if v := recover(); v != nil { // Close of a nil *events.LambdaFunctionURLStreamingResponse panics
			sayPanic(ctx, h.bulkhead, "closing a late result", v)
		}
	}()
	if c, ok := any(out).(io.Closer); ok {
		_ = c.Close()
	}
}
