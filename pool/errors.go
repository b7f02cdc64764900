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

	// ErrInvocationEnded is returned by every use of a pool, lease, transaction or result whose invocation has ended: its
	// scope took back what it held. Work that is to outlive its invocation needs a ctx without a scope.
	ErrInvocationEnded = pgerr.ErrInvocationEnded

	// ErrServerFull is in the error of a caller who got no connection because the pool has none and the server takes no more. As long as there is
	// time, and as long as the pool has a connection, no caller hears of it: who waits uses what there is, or what another environment leaves. The
	// error that wraps it names the server's own, and what to change.
	ErrServerFull = pgerr.ErrServerFull

	// ErrServerAway is in the error of a caller who got no connection because no server answers, or only a standby where the pool writes: it
	// restarts, or another takes over. As long as there is time no caller hears of it: who waits goes on waiting, and the pool dials again, several
	// times a second and with what the name stands for by then. A pool that has never had a connection says at once that its server does not answer,
	// since it may be the wrong one. The error that wraps it has the last dial's.
	ErrServerAway = pgerr.ErrServerAway

	// ErrNestedAcquire is what the youngest waiter gets when nobody can ever be served, because every connection is held by a function of InTx
	// that waits for another one. The error is a [*NestedAcquireError], inside an [*AcquireError].
	ErrNestedAcquire = pgerr.ErrNestedAcquire

	errReleased  = pgerr.Say[pgerr.LeaseReleasedError]("lmipool: the lease was released")
	errBusy      = pgerr.Say[pgerr.LeaseBusyError]("lmipool: conn busy: another goroutine is using this lease") // in place of the data race that pgx would have
	errStuck     = pgerr.Unsent("the statement", errors.New("a value of the CopyFrom before is still being encoded; the connection is given up"))
	errUnsettled = pgerr.Unsent("the statement", errors.New("the server does not acknowledge the cancel request for the one before; the connection is given up"))

	// What callers get who hand over nothing. A ctx that is nil is a panic, as in package context.
	errNoBatch  = pgerr.Say[pgerr.NilArgumentError]("lmipool: SendBatch: the batch is nil")
	errNoSource = pgerr.Say[pgerr.NilArgumentError]("lmipool: CopyFrom: the source is nil")
	errNoFunc   = pgerr.Say[pgerr.NilArgumentError]("lmipool: the function is nil")
	errNoPool   = pgerr.Say[pgerr.NilArgumentError]("lmipool: the pool is nil: look at Open's error before its result is used")
)

var errSimpleMode = pgerr.Say[pgerr.ExecModeError]("lmipool: With needs the extended protocol, and QueryExecModeSimpleProtocol was asked for: " +
	"use QueryExecModeCacheDescribe, which needs no prepared statements either")

// errExecMode is for all of a pool with this mode, and for batches on a connection to which BeforeConnect has given it. Only its outermost type
// says that the mode is why: Misconfigured is inside.
var errExecMode = pgerr.Wrap[pgerr.ExecModeError](pgerr.Config(errors.New("lmipool: With: in QueryExecModeExec pgx sends batches past the pool, and they would run without the settings: " +
	"set default_query_exec_mode to cache_describe, which needs no prepared statements either")))

func mustHave(ctx context.Context) {
	if ctx == nil {
		panic("lmipool: the ctx is nil: use context.Background, or the handler's")
	}
}

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

// AcquireError says why a connection could not be had, and what somebody who is woken by it at night wants to know. Ask for it with errors.As: it is
// inside a type whose name says the reason, which Lambda shows as the errorType (AcquireTimeoutError, ServerFullError). Unwrap gives the reason: the
// ctx's error, [ErrClosed], [ErrInvocationEnded], or what the dial or a hook returned. If the ctx ended while the pool had no connection, the last
// dial's error is in it too.
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

// NestedAcquireError is ErrNestedAcquire with the two places in the code that together make
// a standstill. Do the one before or after the other, or use one connection for both.
type NestedAcquireError struct {
	Holder  Holder   // what the function of InTx holds in which the caller waited
	Waiting []string // where the caller waited, innermost first
}

func (e *NestedAcquireError) Error() string {
	at := ""
	if len(e.Waiting) > 0 {
		at = fmt.Sprintf("; waiting at %s", e.Waiting[0])
	}
	return fmt.Sprintf("%v (%s%s)", ErrNestedAcquire, e.Holder, at)
}

// Is reports whether target is ErrNestedAcquire.
func (e *NestedAcquireError) Is(target error) bool { return target == ErrNestedAcquire }

// ShutdownError is what Shutdown returns when its ctx ended before everything came back. The connections are closed all the same.
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

// Misconfigured reports whether err means that somebody has to change configuration or rights before the same call can work: tell a human, do not try
// again. [Retryable] has the table of all classes.
//
// An error of a hook says so for itself if it, or one that it wraps, has a method Misconfigured() bool. Package iam's do.
func Misconfigured(err error) bool { return pgerr.Classify(err, inPgerr) == pgerr.Misconfigured }

// Retryable reports whether nothing has happened, for certain, and the same call may work later. It is the whole transaction that is to be called
// again, if there was one, with a ctx that has time left. By what the caller does next an error has at most one class:
//
//	Misconfigured   Change configuration or rights: a connection string, Config or variable that New
//	                or Open refuses; a wrong password, role, database or startup parameter; an unknown
//	                host; a server without TLS, or for which nobody vouches; no credentials for an IAM
//	                token; a missing privilege (42501, but not for a row that a row policy refuses).
//	Retryable       Try again, after a pause: a lost race (40001, 40P01, also as the answer to COMMIT);
//	                a lock not had in time (55P03); a server that is away, starting (57P03), full (53…) or
//	                a standby now ([ErrServerAway], [ErrServerFull]); no connection in time ([*AcquireError]); a statement that was stopped
//	                in time because its ctx had ended; a stale prepared statement; what was not sent
//	                (pgconn.SafeToRetry); what InTx has rolled back since its connection was lost or ctx ended.
//	OutcomeUnknown  Look whether it has happened; see there.
//	none of them    Give up, and correct the statement, its arguments or the code: all else that the
//	                server says no to (22…, 23…, 42…, 25006, 57014 by a statement_timeout); [ErrClosed],
//	                [ErrInvocationEnded], [ErrNestedAcquire]; a panic; what the pool does not know,
//	                such as an error of the caller's own.
//
// Among errors that are wrapped together (errors.Join, several %w) the most serious counts: OutcomeUnknown, then giving up, then Misconfigured; what
// the pool does not know counts for nothing. What a procedure, a text of several statements or a batch has committed before it failed stays, so the
// error of what has, or may have, committed something is not Retryable (but with [Config.Plain], where nobody sees that).
func Retryable(err error) bool { return pgerr.Classify(err, inPgerr) == pgerr.Retryable }

// OutcomeUnknown reports whether err, from a statement or a Commit, leaves open whether it has happened: it was sent, or may have been, and the
// server's answer was lost, because the connection broke or ctx ended. A write with such an error must not simply be sent again; look whether it is
// there, or make it idempotent.
//
// It is true for an error that ended the session (FATAL, such as 57P01), which may have come after a commit. It is false when the server said no in
// any other way (nothing has happened; what a procedure, or a text of several statements, has committed on its way stays). It is false for a
// statement that was cancelled in time because its ctx had ended: the server's 57014 is in the error's chain beside the ctx's. It is false, too, when
// nothing was sent: [*AcquireError], [ErrClosed], [ErrInvocationEnded] before the call, pgconn.SafeToRetry. A bare ctx error counts as unknown, since
// a statement may have been under way when the ctx ended. lmipool itself never sends a write twice.
//
// [Retryable] has the table of all classes.
func OutcomeUnknown(err error) bool { return pgerr.Classify(err, inPgerr) == pgerr.Unknown }

// inPgerr says in words of package pgerr what an error means that is a type of this package's.
func inPgerr(err error) error {
	switch x := err.(type) { //nolint:errorlint // it is asked for each error of a tree
	case *AcquireError: // there was no connection
		return pgerr.RolledBack(x.Err)
	case *NestedAcquireError:
		return ErrNestedAcquire
	case *ShutdownError:
		return ErrClosed
	}
	return nil
}
