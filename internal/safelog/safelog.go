// Package safelog makes a logger of the user's safe to log with from anywhere.
package safelog

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// Guard returns l with a Handler that recovers from panics of l's own. What recovers from a panic in the
// background logs it, and a second panic there would end the process, with every invocation in it. The record of a
// Handler that panics is lost; the first panic is written to standard error.
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

// derived is h with what f returns; h as it is, if f panics.
func (h *handler) derived(what string, f func() slog.Handler) slog.Handler {
	theirs := h.theirs
	func() {
		defer h.guard(what)
		theirs = f()
	}()
	return &handler{theirs, h.said}
}
