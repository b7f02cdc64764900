package pool

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// background runs f in a goroutine that Shutdown waits for. A panic in it is
// logged, not fatal: unrecovered, it would end every invocation of the process.
// f keeps the books in its own defers.
func (p *Pool) background(what string, f func()) {
	p.wg.Go(func() { p.protect(what, f) })
}

// protect runs f and logs a panic of it.
func (p *Pool) protect(what string, f func()) {
	_ = p.catchPanic(what, func() error { f(); return nil }) // catchPanic has logged it
}

// catchPanic runs f and turns a panic into an error, after logging it with its stack.
func (p *Pool) catchPanic(what string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("lmipool: %s panicked: %v", what, v)
			p.stats.panics.Add(1)
			p.log.Error("lmipool: "+what+" panicked", slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
		}
	}()
	return f()
}

// hook wraps a hook of the user's, if there is one, so that its panic is its error.
func hook[T any](p *Pool, name string, f func(context.Context, T) error) func(context.Context, T) error {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, v T) error {
		return p.catchPanic(name, func() error { return f(ctx, v) })
	}
}

// timed gives f's ctx an end: pgxpool calls the hooks of a dial without one.
func timed[T any](d time.Duration, f func(context.Context, T) error) func(context.Context, T) error {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, v T) error {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		return f(ctx, v)
	}
}
