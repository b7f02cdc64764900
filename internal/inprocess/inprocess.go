// Package inprocess marks invocations that a test makes in its own process. Where an invocation would end the process, a marked one does not.
package inprocess

import "context"

type key struct{}

// Mark returns a ctx for an invocation that is marked.
func Mark(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, true) }

// Marked reports whether ctx belongs to a marked invocation.
func Marked(ctx context.Context) bool { return ctx.Value(key{}) != nil }
