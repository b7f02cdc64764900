package pool

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// Misconfigured reports whether err means that somebody has to change configuration or
// rights before the same call can work: tell a human, do not try again. [Retryable] has
// the table of all classes.
//
// An error of a hook says so for itself if it, or one that it wraps, has a method
// Misconfigured() bool. Package iam's do.
func Misconfigured(err error) bool { return classify(err, wasSent, true) == classMisconfigured }

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
func Retryable(err error) bool { return classify(err, wasSent, true) == classRetryable }

// class is what is to be done about an error; of those that are joined the greatest counts.
type class uint8

const (
	classNone class = iota // nobody knows
	classRetryable
	classMisconfigured
	classGiveUp
	classUnknown
)

// progress is how far it had got, whatever failed.
type progress uint8

const (
	wasSent   progress = iota // to the server, or it may have been
	notSent                   // there was no connection, or all was rolled back
	loggingIn                 // a connection was being opened
)

// decides reports whether err is one of ours that means Retryable, whatever it is wrapped
// together with to explain it.
func decides(err error) bool {
	return err == ErrServerFull || err == ErrServerAway //nolint:errorlint // it is asked for each error of a tree
}

// classify walks the tree of err. believe: what says of itself that it is safe to retry is.
func classify(err error, at progress, believe bool) class {
	switch x := err.(type) { //nolint:errorlint // it walks the tree itself: a wrapper says what that which is inside means
	case nil:
		return classNone
	case *AcquireError:
		return classify(x.Err, max(at, notSent), believe)
	case *rolledBackError:
		return classify(x.error, max(at, notSent), believe)
	case *partlyError:
		if c := classify(x.error, at, believe); c != classRetryable {
			return c
		}
		return classGiveUp
	case *sentError:
		if at == wasSent {
			return classUnknown
		}
	case *pgconn.ConnectError:
		at = loggingIn
	case *canceledError:
		switch {
		case classify(x.err, at, believe) == classUnknown: // the connection was given up
			return classUnknown
		case x.why == ErrInvocationEnded: //nolint:errorlint // it is that or a ctx's
			return classGiveUp
		}
		return classRetryable // the server has stopped it
	case *NestedAcquireError, *ShutdownError:
		return classGiveUp
	case *pgconn.PgError:
		return classOfPg(x, at)
	case net.Error: // the ctx's DeadlineExceeded is one
		return classOfNet(x, at)
	}
	if x, ok := err.(interface{ Misconfigured() bool }); ok && x.Misconfigured() {
		return classMisconfigured
	}
	if x, ok := err.(interface{ SafeToRetry() bool }); ok {
		// pgx says "conn closed", and that it is safe to retry, also when it finds
		// the connection closed while it waits for an answer.
		if x.SafeToRetry() && believe && !errors.Is(err, pgconn.ErrConnClosed) {
			return classRetryable
		}
		believe = believe && x.SafeToRetry() // what it wraps knows less of what was sent
	}
	switch x := err.(type) { //nolint:errorlint // see above
	case interface{ Unwrap() []error }:
		return classOfAll(x.Unwrap(), at, believe)
	case interface{ Unwrap() error }:
		if inner := x.Unwrap(); inner != nil {
			return classify(inner, at, believe)
		}
	}
	return classOfLeaf(err, at)
}

// classOfAll is for those that are joined. While a connection was being opened they are of
// hosts, and of TLS and plain text, one after the other: then one way that may
// be open later is enough, unless pgx has seen that no other need be tried.
func classOfAll(errs []error, at progress, believe bool) (most class) {
	retry := false
	for _, err := range errs {
		c := classify(err, at, believe)
		most = max(most, c)
		retry = retry || decides(err) ||
			at == loggingIn && c == classRetryable && !endsDial(errs[len(errs)-1])
	}
	if retry && most != classUnknown {
		return classRetryable
	}
	return most
}

// classOfNet is for the network, and for whatever else says whether it is a timeout.
func classOfNet(err net.Error, at progress) class {
	var op *net.OpError
	var dns *net.DNSError
	switch dialed := errors.As(err, &op) && op.Op == "dial"; {
	case at == wasSent && !dialed:
		return classUnknown
	case errors.As(err, &dns) && dns.IsNotFound:
		return classMisconfigured
	case at == loggingIn && op != nil && op.Op == "remote error": // TLS: the server does not take us
		return classMisconfigured
	}
	return classRetryable
}

// classOfLeaf is for what wraps nothing and has no type.
func classOfLeaf(err error, at progress) class {
	if decides(err) {
		return classRetryable
	}
	switch err { //nolint:errorlint // it is a leaf
	case context.Canceled, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed:
		if at == wasSent {
			return classUnknown
		}
		return classRetryable
	case errUnfit, errStandby, errReadOnlyServer,
		pgconn.ErrReadOnlyConnection, pgconn.ErrReadWriteConnection, pgconn.ErrPrimaryConnection, pgconn.ErrStandbyConnection: // of target_session_attrs
		return classRetryable
	case ErrClosed, ErrInvocationEnded, ErrNestedAcquire, errDialPanicked:
		return classGiveUp
	}
	if at == loggingIn { // the other side is there, and does not do what the configuration asks for: TLS, a way to authenticate
		return classMisconfigured
	}
	return classNone
}

// misconfigured marks an error of the configuration.
type misconfigured struct{ error }

func (e *misconfigured) Unwrap() error       { return e.error }
func (e *misconfigured) Misconfigured() bool { return true }
