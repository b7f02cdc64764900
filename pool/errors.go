package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/safelog"
)

var (
	// ErrClosed is the error of every use of a pool after Close or Shutdown.
	ErrClosed = pgerr.ErrClosed

	// ErrInvocationEnded is the error of every use of a pool with the ctx of an invocation that has ended, and of every use of a lease, transaction
	// or result that the invocation had. Work that goes on after its invocation needs a ctx without a scope: see [Detach].
	ErrInvocationEnded = pgerr.ErrInvocationEnded

	// ErrNoTime is in the error of a caller whom the pool refused because the caller would not get its answer in time, or because too many callers
	// wait. The pool does this before the caller's ctx ends, and sends nothing. The error is a [*NoTimeError], inside an [*AcquireError].
	ErrNoTime = pgerr.ErrNoTime

	// ErrServerFull is in the error of a caller who got no connection because the pool has none and the server accepts no more. The caller has waited
	// until its ctx ended, or for [Config.ConnectTimeout] if ctx has no deadline: until then another environment may close a connection, so that a
	// dial succeeds. The error that wraps ErrServerFull has the server's own error, and says what to change.
	ErrServerFull = pgerr.ErrServerFull

	// ErrServerAway is in the error of a caller who got no connection because no server answers, or because a standby answers where the pool needs a
	// writer, as in a restart or failover. The caller has waited until its ctx ended, or for three times [Config.ConnectTimeout] if ctx has no
	// deadline. Meanwhile the pool has dialed several times a second, and has resolved the host name each time. If a pool that never had a connection
	// gets no answer, its caller gets the dial's error at once, without ErrServerAway, since the host may be the wrong one.
	ErrServerAway = pgerr.ErrServerAway

	// ErrNestedAcquire is the error of the caller who began to wait last, when no caller can ever be served because every connection is held by a
	// function of InTx that waits for another connection. The error is a [*NestedAcquireError], inside an [*AcquireError].
	ErrNestedAcquire = pgerr.ErrNestedAcquire

	errReleased  = pgerr.Say[pgerr.LeaseReleasedError]("lmipool: the lease was released")
	errBusy      = pgerr.Say[pgerr.LeaseBusyError]("lmipool: conn busy: another goroutine is using this lease") // pgx would have a data race
	errStuck     = pgerr.Unsent("the statement", errors.New("a value of the CopyFrom before is still being encoded; the connection is given up"))
	errUnsettled = pgerr.Unsent("the statement", errors.New("the server does not acknowledge the cancel request for the one before; the connection is given up"))

	// These are the errors for nil values. A nil ctx, pool or lease causes a panic.
	errNoBatch  = pgerr.Say[pgerr.NilArgumentError]("lmipool: SendBatch: the batch is nil")
	errNoSource = pgerr.Say[pgerr.NilArgumentError]("lmipool: CopyFrom: the source is nil")
	errNoFunc   = pgerr.Say[pgerr.NilArgumentError]("lmipool: the function is nil")
	errNoPool   = pgerr.Say[pgerr.NilArgumentError]("lmipool: the pool is nil, or not from Open or New: look at Open's error before its result is used")
	errNoBound  = pgerr.Say[pgerr.NilArgumentError]("lmipool: the Bound is nil, or not from With")
	errNoLease  = pgerr.Say[pgerr.NilArgumentError]("lmipool: the lease is nil, or not from Acquire: look at Acquire's error before its result is used")
)

var errSimpleMode = pgerr.Say[pgerr.ExecModeError]("lmipool: With needs the extended protocol, and QueryExecModeSimpleProtocol was asked for: " +
	"use QueryExecModeCacheDescribe, which needs no prepared statements either")

// errExecMode is With's error for every use of a pool in QueryExecModeExec, and for batches on a connection for which BeforeConnect has chosen that
// mode. Lambda shows its type, ExecModeError, as the reason. The Config error inside makes Misconfigured true.
var errExecMode = pgerr.Wrap[pgerr.ExecModeError](pgerr.Config(errors.New("lmipool: With: in QueryExecModeExec pgx sends batches past the pool, and they would run without the settings: " +
	"set default_query_exec_mode to cache_describe, which needs no prepared statements either")))

func mustHave(ctx context.Context) {
	if ctx == nil {
		panic("lmipool: the ctx is nil: use context.Background, or the handler's")
	}
}

// Holder describes a lease that was not given back yet: which invocation has the lease, for how long, and which statement runs on it.
type Holder struct {
	Scope string        // the invocation's request id, or "" outside a scope
	Held  time.Duration // how long the lease has lasted
	Doing string        // the statement that runs, or ran last, cut to 200 bytes, without its arguments, and with its literals replaced by ?
	Stack []string      // where the lease was acquired, innermost function first
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

// attrs returns the attributes of h for the log.
func (h Holder) attrs() []any {
	return []any{
		safelog.Request(h.Scope), safelog.Ms("held", h.Held),
		slog.String("doing", h.Doing), slog.Any("acquired_at", h.Stack),
	}
}

// AcquireError says why a caller got no connection, and how busy the pool was. Use errors.As to get the AcquireError from the error that wraps it: the
// wrapper's type names the reason, and Lambda shows that type as errorType (AcquireTimeoutError, ServerFullError). Unwrap returns the reason: the
// ctx's error, which has the last dial's error in its chain if the pool had no connection, a [*NoTimeError], or the error of a dial or hook.
type AcquireError struct {
	Waited   time.Duration // how long the caller waited
	MaxConns int           // Config.MaxConns
	Open     int           // how many connections were open, or being opened or closed
	Limit    int           // see Stat.Limit
	InUse    int           // how many connections were in use
	Queued   int           // how many callers waited, this one included
	Longest  *Holder       // the lease that had lasted longest; nil if there was none
	Err      error
}

func (e *AcquireError) Error() string {
	var b strings.Builder
	b.WriteString("lmipool: acquire: ")
	if e.Waited >= time.Millisecond {
		fmt.Fprintf(&b, "waited %s (%d of at most %d connections open or opening, %d in use, queued %d", round(e.Waited), e.Open, e.MaxConns, e.InUse, e.Queued)
		if e.Longest != nil {
			fmt.Fprintf(&b, "; longest %s", e.Longest)
		}
		b.WriteString("): ")
	}
	// lmipool's own errors begin with "lmipool: ", and the text has that already.
	b.WriteString(strings.TrimPrefix(e.Err.Error(), "lmipool: "))
	return b.String()
}

func (e *AcquireError) Unwrap() error { return e.Err }

// As makes pgconn.Timeout true for e if a deadline had passed.
func (e *AcquireError) As(target any) bool {
	return errors.Is(e.Err, context.DeadlineExceeded) && pgerr.AsTimeout(target)
}

// NestedAcquireError is ErrNestedAcquire with the two places in the code that cause the deadlock: the transaction, and the use of the pool inside it.
// Move that use before or after the transaction, or run it on the transaction's tx.
type NestedAcquireError struct {
	Holder  Holder   // the lease of the transaction inside which the caller waited
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

// NoTimeError is [ErrNoTime] with the numbers that led to the refusal. It counts as a timeout, since the caller's time would have ended before the
// answer came: errors.Is(err, context.DeadlineExceeded) and pgconn.Timeout are true. [Retryable] is true, too: call again with a ctx that has time left.
type NoTimeError struct {
	Waiting         int           // how many other callers waited
	ExpectedWait    time.Duration // how long those callers take on the connections that are open
	ExpectedService time.Duration // how long the caller would have held its connection; 0 if that is not known
	Left            time.Duration // the time until the caller's deadline or the end of Config.MaxWait
	why             string        // why the caller was refused
	outage          error         // why the pool had no connection; nil if it had one
}

func (e *NoTimeError) Error() string {
	s := fmt.Sprintf("lmipool: %s: %d wait, for about %s; expected service %s, left %s", e.why, e.Waiting, round(e.ExpectedWait), round(e.ExpectedService), round(e.Left))
	if e.outage != nil {
		s += ": " + e.outage.Error()
	}
	return s
}

// Is reports whether target is ErrNoTime or context.DeadlineExceeded.
func (e *NoTimeError) Is(target error) bool {
	return target == ErrNoTime || target == context.DeadlineExceeded
}

func (e *NoTimeError) Unwrap() error { return e.outage }

// ShutdownError is Shutdown's error if its ctx ended before every lease was given back. The connections are closed all the same, except Open of them.
type ShutdownError struct {
	Out       []Holder // the leases that were not given back
	Companion int      // how many connections of the companion ([Pool.Companion]) were still open
	Open      int      // how many connections are not closed yet, since a hook has not returned or, with Config.Plain, since they are in use
	Err       error    // the ctx's error
}

func (e *ShutdownError) Error() string {
	out := make([]string, len(e.Out))
	for i, h := range e.Out {
		out[i] = h.String()
	}
	open := ""
	if e.Companion > 0 {
		open = fmt.Sprintf("; of the companion: %d", e.Companion)
	}
	if e.Open > 0 {
		open += fmt.Sprintf("; not closed yet, since they are in use or in a hook that does not return: %d", e.Open)
	}
	return fmt.Sprintf("lmipool: shutdown: %d connections still out (%s)%s: %v", len(e.Out), strings.Join(out, "; "), open, e.Err)
}

func (e *ShutdownError) Unwrap() error { return e.Err }

// round rounds a duration to about three digits.
func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d
}

// Misconfigured reports whether err means that configuration or rights must be changed before the same call can work: tell somebody, and do not try
// again. [Retryable] has the table of all classes.
//
// If a hook returns an error, Misconfigured is true if an error in its chain has a method Misconfigured() bool that returns true, as package iam's have.
func Misconfigured(err error) bool { return pgerr.Classify(err, inPgerr) == pgerr.Misconfigured }

// Retryable reports whether it is certain that nothing has happened, and the same call may work later. If there was a transaction, call all of it
// again, with a ctx that has time left. An error has at most one of three classes, which say what the caller does next:
//
//	Misconfigured   Change configuration or rights: a connection string, Config or variable that New
//	                or Open refuses; a wrong password, role, database or startup parameter; an unknown
//	                host; a server without TLS, or with an untrusted certificate; no credentials for an IAM
//	                token; a missing privilege (42501, but not for a row that a row policy refuses).
//	Retryable       Try again, after a pause: a lost race (40001, 40P01, also as the answer to COMMIT);
//	                a lock not had in time (55P03); a server that is away, starting (57P03), full (53…) or
//	                a standby now ([ErrServerAway], [ErrServerFull]); no connection in time ([*AcquireError], [ErrNoTime]); a statement that was stopped
//	                in time because its ctx had ended; a stale prepared statement; a statement that was not sent
//	                (pgconn.SafeToRetry); an InTx that was rolled back because its connection was lost or ctx ended.
//	OutcomeUnknown  Look whether it has happened: see [OutcomeUnknown].
//	none of them    Give up, and correct the statement, its arguments or the code: every other error of
//	                the server (22…, 23…, 42…, 25006, 57014 by a statement_timeout); [ErrClosed],
//	                [ErrInvocationEnded], [ErrNestedAcquire]; a panic; an error that the pool does not
//	                know, such as one of the caller's own.
//
// If an error wraps several (errors.Join, several %w), the most serious class counts: OutcomeUnknown, then giving up, then Misconfigured. Errors that
// the pool does not know are left out then. A procedure, a text of several statements or a batch may commit something before it fails, and that
// stays: if it has, or may have, the error is not Retryable. With [Config.Plain] the pool cannot see such commits.
func Retryable(err error) bool { return pgerr.Classify(err, inPgerr) == pgerr.Retryable }

// OutcomeUnknown reports whether err, from a statement or a Commit, leaves open whether the statement or COMMIT has taken effect: it was sent, or may have
// been, and the server's answer was lost, because the connection broke or ctx ended. Look whether such a write is there before you send it again.
//
// It is true for an error that ended the session (FATAL, such as 57P01), since that may have come after a commit. It is false for every other error
// of the server: then nothing has happened, except for what a procedure, or a text of several statements, had committed before. It is false for a
// statement that the server cancelled in time because ctx had ended: the error's chain has the server's 57014 and the ctx's error. It is false, too,
// when nothing was sent: [*AcquireError], [ErrClosed], [ErrInvocationEnded] before the call, pgconn.SafeToRetry. A bare ctx error counts as unknown,
// since a statement may have been under way when the ctx ended. lmipool itself never sends a write twice.
//
// [Retryable] has the table of all classes.
func OutcomeUnknown(err error) bool { return pgerr.Classify(err, inPgerr) == pgerr.Unknown }

// inPgerr translates an error type of this package into what package pgerr knows; it returns nil for any other error.
func inPgerr(err error) error {
	switch x := err.(type) { //nolint:errorlint // it is called for each error of a tree
	case *AcquireError: // there was no connection
		return pgerr.RolledBack(x.Err)
	case *NestedAcquireError:
		return ErrNestedAcquire
	case *NoTimeError:
		return context.DeadlineExceeded
	case *ShutdownError:
		return ErrClosed
	}
	return nil
}
