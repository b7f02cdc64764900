package lmipool

import "github.com/lmipool/lmipool/pool"

// The errors of a pool, for errors.Is. Each is documented in package pool.
var (
	ErrClosed          = pool.ErrClosed          // the pool was closed
	ErrInvocationEnded = pool.ErrInvocationEnded // the invocation to which a lease, transaction or result belonged has ended
	ErrNestedAcquire   = pool.ErrNestedAcquire   // every connection is held by a function of InTx that waits for another one
	ErrServerAway      = pool.ErrServerAway      // no server answers that the pool can use
	ErrServerFull      = pool.ErrServerFull      // the server takes no more connections, and the pool has none
)

// The errors of a pool that have fields, for errors.As.
type (
	AcquireError       = pool.AcquireError       // why a connection could not be had, and who holds the others
	NestedAcquireError = pool.NestedAcquireError // ErrNestedAcquire, with the two places in the code
	ShutdownError      = pool.ShutdownError      // what was still out when Shutdown's ctx ended
	Holder             = pool.Holder             // who holds a connection, since when, doing what
)

// OutcomeUnknown reports whether err leaves open whether what was sent has happened:
// [pool.OutcomeUnknown].
func OutcomeUnknown(err error) bool { return pool.OutcomeUnknown(err) }

// Retryable reports whether nothing has happened, and the same call may work later:
// [pool.Retryable], which has the table of all errors by what to do next.
func Retryable(err error) bool { return pool.Retryable(err) }

// Misconfigured reports whether somebody has to change configuration or rights before the
// same call can work: [pool.Misconfigured].
func Misconfigured(err error) bool { return pool.Misconfigured(err) }

// RefusedError is the reply to an invocation that was not begun, because the process is about to end. Retryable is true for it.
type RefusedError string

func (r RefusedError) Error() string { return string(r) }

// SafeToRetry makes Retryable(err) true.
func (RefusedError) SafeToRetry() bool { return true }
