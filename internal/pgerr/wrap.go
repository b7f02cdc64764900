package pgerr

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Config marks an error of the configuration, or of rights: Misconfigured.
func Config(err error) error { return &config{err} }

type config struct{ error }

func (e *config) Unwrap() error       { return e.error }
func (e *config) Misconfigured() bool { return true }

// Unsent is for what was not sent because of err: what says what that was, such as "the statement".
func Unsent(what string, err error) error { return &unsent{what, err} }

type unsent struct {
	what string
	err  error
}

func (e *unsent) Error() string     { return "lmipool: " + e.what + " was not sent: " + e.err.Error() }
func (e *unsent) Unwrap() error     { return e.err }
func (e *unsent) SafeToRetry() bool { return true }

// As has pgconn.Timeout say what it says of pgx's error when a ctx had ended before, for whatever reason.
func (e *unsent) As(target any) bool {
	return (errors.Is(e.err, context.DeadlineExceeded) || errors.Is(e.err, context.Canceled)) && AsTimeout(target)
}

// NotRun is for a statement that the server has not run: it was refused, or never sent, because of
// where it was to run; or for a read, which has no effect. why says which.
func NotRun(why string, err error) error { return &notRun{why, err} }

type notRun struct {
	why string
	err error
}

func (e *notRun) Error() string     { return fmt.Sprintf("lmipool: %s: %v", e.why, e.err) }
func (e *notRun) Unwrap() error     { return &rolledBack{e.err} }
func (e *notRun) SafeToRetry() bool { return true }

// ResetFailed is for a statement that did not run, because the reset in front of it has failed and the
// server has ended the session.
func ResetFailed(failed *pgconn.PgError) error { return &resetFailed{failed} }

type resetFailed struct{ failed *pgconn.PgError }

func (e *resetFailed) Error() string {
	return "lmipool: the session could not be reset: " + e.failed.Error()
}
func (e *resetFailed) Unwrap() error     { return e.failed }
func (e *resetFailed) SafeToRetry() bool { return true }

// DidNotRun reports whether err is of a statement that can be run once more, elsewhere: NotRun's, or ResetFailed's.
func DidNotRun(err error) bool {
	var r *resetFailed
	var n *notRun
	return errors.As(err, &r) || errors.As(err, &n)
}

// RolledBack is for an error after which the transaction was rolled back, though the error itself would
// leave that open.
func RolledBack(err error) error { return &rolledBack{err} }

type rolledBack struct{ error }

func (e *rolledBack) Unwrap() error { return e.error }

// SentUnanswered is for a reason for which nobody is told the answer to what was sent.
func SentUnanswered(err error) error { return &sentUnanswered{err} }

type sentUnanswered struct{ error }

func (e *sentUnanswered) Unwrap() error { return e.error }

// PartlyDone is for an error after which the same call is not safe, though the error itself would say so:
// something of the call, or of its transaction, may have been committed before it failed.
func PartlyDone(err error) error { return &partlyDone{err} }

type partlyDone struct{ error }

func (e *partlyDone) Unwrap() error { return e.error }

// Canceled is the error of a statement that was stopped because its ctx ended, which is why: both errors
// are in its chain, the ctx's and the server's.
func Canceled(why, err error) error { return &canceled{why, err} }

type canceled struct{ why, err error }

func (e *canceled) Error() string {
	return "lmipool: canceled: " + e.why.Error() + ": " + e.err.Error()
}
func (e *canceled) Unwrap() []error { return []error{e.why, e.err} }

// As has pgconn.Timeout say what it says of pgx's error when a deadline is over.
func (e *canceled) As(target any) bool {
	return errors.Is(e.why, context.DeadlineExceeded) && AsTimeout(target)
}
