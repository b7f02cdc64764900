// Package safelog makes it safe to use the user's Logger from any goroutine: a panic in its Handler does not reach the caller.
package safelog

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// Guard returns a Logger that logs to l's Handler and recovers if that panics. The pool recovers from panics in its background goroutines and logs
// them; a second panic there would end the process, and all its invocations with it. When the Handler panics, the record is lost. The first panic is
// written to standard error. Guard returns l itself if it is guarded already.
func Guard(l *slog.Logger) *slog.Logger {
	if _, guarded := l.Handler().(*handler); guarded {
		return l
	}
	return slog.New(&handler{l.Handler(), new(sync.Once)})
}

type handler struct {
	theirs slog.Handler
	said   *sync.Once
}

func (h *handler) guard(doing string) {
	if v := recover(); v != nil {
		h.said.Do(func() { fmt.Fprintf(os.Stderr, "lmipool: the Logger's Handler panicked in %s: %v\n", doing, v) })
	}
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	defer h.guard("Enabled")
	return h.theirs.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	defer h.guard("Handle")
	return h.theirs.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.derived("WithAttrs", func() slog.Handler { return h.theirs.WithAttrs(attrs) })
}

func (h *handler) WithGroup(name string) slog.Handler {
	return h.derived("WithGroup", func() slog.Handler { return h.theirs.WithGroup(name) })
}

// derived returns a handler around the one that f returns, or around h's present one if f panics.
func (h *handler) derived(what string, f func() slog.Handler) slog.Handler {
	theirs := h.theirs
	func() {
		defer h.guard(what)
		theirs = f()
	}()
	return &handler{theirs, h.said}
}
