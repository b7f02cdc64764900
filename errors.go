package lmipool

import "github.com/lmipool/lmipool/pool"

// These are a pool's errors for errors.Is. Package pool documents each.
var (
	ErrClosed          = pool.ErrClosed          // the pool was closed
	ErrInvocationEnded = pool.ErrInvocationEnded // the invocation to which a lease, transaction or result belonged has ended
	ErrNestedAcquire   = pool.ErrNestedAcquire   // every connection is held by an InTx whose function waits for a second one
	ErrNoTime          = pool.ErrNoTime          // the pool has refused a caller who would not get its answer in time
	ErrServerAway      = pool.ErrServerAway      // no server answers, or only a standby although the pool needs a writer
	ErrServerFull      = pool.ErrServerFull      // the server takes no more connections, and the pool has none
)

// These are a pool's errors for errors.As, and Holder, the type of a field of some of them.
type (
	AcquireError       = pool.AcquireError       // why a caller got no connection, and who holds one longest
	NestedAcquireError = pool.NestedAcquireError // ErrNestedAcquire, with the two places in the code that cause it
	NoTimeError        = pool.NoTimeError        // ErrNoTime, with how long the caller could have waited and how long the queue is
	ShutdownError      = pool.ShutdownError      // the leases that were not given back when Shutdown's ctx ended
	Holder             = pool.Holder             // which invocation holds a connection, for how long, and what it does
)

// OutcomeUnknown reports whether err leaves open whether a statement or COMMIT has taken effect: see [pool.OutcomeUnknown].
func OutcomeUnknown(err error) bool { return pool.OutcomeUnknown(err) }

// Retryable reports whether it is certain that nothing has happened, and the same call may work later: see [pool.Retryable], which has a table of all
// errors and what to do about them.
func Retryable(err error) bool { return pool.Retryable(err) }

// Misconfigured reports whether configuration or rights must be changed before the same call can work: see [pool.Misconfigured].
func Misconfigured(err error) bool { return pool.Misconfigured(err) }

// RefusedError is the reply to an invocation whose handler was not called, because the process is about to end. Retryable is true for it.
type RefusedError string

func (r RefusedError) Error() string { return string(r) }

// SafeToRetry returns true, which makes Retryable true for the error.
func (RefusedError) SafeToRetry() bool { return true }
