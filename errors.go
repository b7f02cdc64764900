package lmipool

import "github.com/lmipool/lmipool/pool"

// OutcomeUnknown reports whether err leaves open whether what was sent has happened:
// [pool.OutcomeUnknown].
func OutcomeUnknown(err error) bool { return pool.OutcomeUnknown(err) }

// Retryable reports whether nothing has happened, and the same call may work later:
// [pool.Retryable], which has the table of all errors by what to do next.
func Retryable(err error) bool { return pool.Retryable(err) }

// Misconfigured reports whether somebody has to change configuration or rights before the
// same call can work: [pool.Misconfigured].
func Misconfigured(err error) bool { return pool.Misconfigured(err) }

// refusal is the reply to an invocation that was not begun.
type refusal string

func (r refusal) Error() string   { return string(r) }
func (refusal) SafeToRetry() bool { return true }
