package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/lmipool/lmipool/internal/pgerr"
)

var (
	// ErrClosed is returned by every use of a pool after Close or Shutdown.
	ErrClosed = pgerr.ErrClosed

	// ErrInvocationEnded is returned by every use of a pool, lease, transaction
	// or result whose invocation has ended: its scope took back what it held.
	// Work that is to outlive its invocation needs a ctx without a scope.
	ErrInvocationEnded = pgerr.ErrInvocationEnded

	// ErrServerFull is in the error of a caller who got no connection because the pool has
	// none and the server takes no more. As long as there is time, and as long as the pool has
	// a connection, no caller hears of it: who waits uses what there is, or what another
	// environment leaves. The error that wraps it names the server's own, and what to change.
	ErrServerFull = pgerr.ErrServerFull

	// ErrServerAway is in the error of a caller who got no connection because no server answers,
	// or only a standby where the pool writes: it restarts, or another takes over. As long as
	// there is time no caller hears of it: who waits goes on waiting, and the pool dials again,
	// several times a second and with what the name stands for by then. A pool that has never
	// had a connection says at once that its server does not answer, since it may be the wrong one.
	// The error that wraps it has the last dial's.
	ErrServerAway = pgerr.ErrServerAway

	// errReleased is what a lease says after Release.
	errReleased = errors.New("lmipool: the lease was released")

	// errBusy is what a lease says to a second goroutine, in place of the data
	// race that pgx would have.
	errBusy = errors.New("lmipool: conn busy: another goroutine is using this lease")

	errStuck = pgerr.Unsent("the statement", errors.New("a value of the CopyFrom before is still being encoded; the connection is given up"))
)

// Holder describes a lease that is out: who has it, since when, doing what.
type Holder struct {
	Scope string        // the invocation's request id, or "" outside a scope
	Held  time.Duration // how long it has been out
	Doing string        // the statement it runs, or ran last, cut to 200 bytes; never its arguments
	Stack []string      // where it was acquired, innermost first; empty for Exec and QueryRow
}

func (h Holder) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "held %s", round(h.Held))
	if h.Scope != "" {
		fmt.Fprintf(&b, " by request %s", h.Scope)
	}
	if h.Doing != "" {
		fmt.Fprintf(&b, ", doing %q", h.Doing)
	}
	if len(h.Stack) > 0 {
		fmt.Fprintf(&b, ", acquired at %s", h.Stack[0])
	}
	return b.String()
}

// attrs is the holder for the log.
func (h Holder) attrs() []any {
	return []any{
		slog.String("request_id", h.Scope), slog.Duration("held", h.Held),
		slog.String("doing", h.Doing), slog.Any("acquired_at", h.Stack),
	}
}

// AcquireError says why a connection could not be had, and what somebody who is
// woken by it at night wants to know. Unwrap gives the reason: the ctx's error,
// [ErrClosed], [ErrInvocationEnded], or what the dial or a hook returned. If the ctx
// ended while the pool had no connection, the last dial's error is in it too.
type AcquireError struct {
	Waited  time.Duration // how long the caller waited
	Limit   int           // how many connections the pool may have now
	InUse   int           // how many were out
	Queued  int           // how many callers were waiting, this one included
	Longest *Holder       // who has held a connection longest; nil if none is out
	Err     error
}

func (e *AcquireError) Error() string {
	var b strings.Builder
	b.WriteString("lmipool: acquire: ")
	if e.Waited >= time.Millisecond {
		fmt.Fprintf(&b, "waited %s (limit %d, in use %d, queued %d", round(e.Waited), e.Limit, e.InUse, e.Queued)
		if e.Longest != nil {
			fmt.Fprintf(&b, "; longest %s", e.Longest)
		}
		b.WriteString("): ")
	}
	// Our own sentinels start with the prefix that is already there.
	b.WriteString(strings.TrimPrefix(e.Err.Error(), "lmipool: "))
	return b.String()
}

func (e *AcquireError) Unwrap() error { return e.Err }

// As has pgconn.Timeout be true if a deadline is over.
func (e *AcquireError) As(target any) bool {
	return errors.Is(e.Err, context.DeadlineExceeded) && pgerr.AsTimeout(target)
}

// ShutdownError is what Shutdown returns when its ctx ended before everything
// came back. The connections are closed all the same.
type ShutdownError struct {
	Out []Holder // what was still out
	Err error    // the ctx's error
}

func (e *ShutdownError) Error() string {
	out := make([]string, len(e.Out))
	for i, h := range e.Out {
		out[i] = h.String()
	}
	return fmt.Sprintf("lmipool: shutdown: %d connections still out (%s): %v", len(e.Out), strings.Join(out, "; "), e.Err)
}

func (e *ShutdownError) Unwrap() error { return e.Err }

// round makes a duration readable: three digits or so.
func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d
}
