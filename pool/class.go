package pool

import "github.com/lmipool/lmipool/internal/pgerr"

// Misconfigured reports whether err means that somebody has to change configuration or
// rights before the same call can work: tell a human, do not try again. [Retryable] has
// the table of all classes.
//
// An error of a hook says so for itself if it, or one that it wraps, has a method
// Misconfigured() bool. Package iam's do.
func Misconfigured(err error) bool { return pgerr.Classify(err, inPgerr) == pgerr.Misconfigured }

// Retryable reports whether nothing has happened, for certain, and the same call may work
// later. It is the whole transaction that is to be called again, if there was one, with
// a ctx that has time left. By what the caller does next an error has at most one class:
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
// Among errors that are wrapped together (errors.Join, several %w) the most serious counts:
// OutcomeUnknown, then giving up, then Misconfigured; what the pool does not know counts
// for nothing. What a procedure, a text of several statements or a batch has committed before it
// failed stays, so the error of what has, or may have, committed something is not Retryable (but with [Config.Plain],
// where nobody sees that).
func Retryable(err error) bool { return pgerr.Classify(err, inPgerr) == pgerr.Retryable }

// OutcomeUnknown reports whether err, from a statement or a Commit, leaves open
// whether it has happened: it was sent, or may have been, and the server's answer
// was lost, because the connection broke or ctx ended. A write with such an error
// must not simply be sent again; look whether it is there, or make it idempotent.
//
// It is true for an error that ended the session (FATAL, such as 57P01), which may have come
// after a commit. It is false when the server said no in any other way (nothing has happened;
// what a procedure, or a text of several statements, has committed on its way stays). It is false
// for a statement that was cancelled in time because its ctx had ended: the server's
// 57014 is in the error's chain beside the ctx's. It is false, too, when nothing was
// sent: [*AcquireError], [ErrClosed], [ErrInvocationEnded] before the call,
// pgconn.SafeToRetry. A bare ctx error counts as unknown, since a statement may have
// been under way when the ctx ended. lmipool itself never sends a write twice.
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
