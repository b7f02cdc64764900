// Package inprocess marks invocations that a test makes in its own process: what they
// bring about must not end it.
package inprocess

import "context"

type key struct{}

// Mark marks the invocation that ctx belongs to.
func Mark(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, true) }

// Marked reports whether ctx belongs to an invocation that is marked.
func Marked(ctx context.Context) bool { return ctx.Value(key{}) != nil }
