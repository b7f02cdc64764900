package pgerr

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// Outer says what an error means whose type belongs to a package above this one: it returns an error that means the same and is
// known here, or nil. Classify asks it for each error of a tree. Only who calls Classify has a say in that: errors of users' own
// types say what they are by their methods.
type Outer func(err error) (means error)

// Classify walks the tree of err.
func Classify(err error, outer Outer) Class { return outer.classify(err, wasSent, true) }

// classify walks the tree of err. believe: what says of itself that it is safe to retry is.
func (outer Outer) classify(err error, at progress, believe bool) Class {
	if err == nil {
		return None
	}
	if means := outer(err); means != nil {
		return outer.classify(means, at, believe)
	}
	switch x := err.(type) { //nolint:errorlint // it walks the tree itself: a wrapper says what that which is inside means
	case *RolledBackError:
		return outer.classify(x.error, max(at, notSent), believe)
	case *PartlyDoneError:
		if c := outer.classify(x.error, at, believe); c != Retryable {
			return c
		}
		return GiveUp
	case *OutcomeUnknownError:
		if at == wasSent {
			return Unknown
		}
	case *pgconn.ConnectError:
		at = loggingIn
	case *CanceledError:
		switch {
		case outer.classify(x.err, at, believe) == Unknown: // the connection was given up
			return Unknown
		case x.why == ErrInvocationEnded: //nolint:errorlint // it is that or a ctx's
			return GiveUp
		}
		return Retryable // the server has stopped it
	case *pgconn.PgError:
		return classOfPg(x, at)
	case net.Error: // the ctx's DeadlineExceeded is one
		return classOfNet(x, at)
	}
	if x, ok := err.(interface{ Misconfigured() bool }); ok && x.Misconfigured() {
		return Misconfigured
	}
	if x, ok := err.(interface{ SafeToRetry() bool }); ok {
		// pgx says "conn closed", and that it is safe to retry, also when it finds
		// the connection closed while it waits for an answer.
		if x.SafeToRetry() && believe && !errors.Is(err, pgconn.ErrConnClosed) {
			return Retryable
		}
		believe = believe && x.SafeToRetry() // what it wraps knows less of what was sent
	}
	switch x := err.(type) { //nolint:errorlint // see above
	case interface{ Unwrap() []error }:
		return outer.classOfAll(x.Unwrap(), at, believe)
	case interface{ Unwrap() error }:
		if inner := x.Unwrap(); inner != nil {
			return outer.classify(inner, at, believe)
		}
	}
	return classOfLeaf(err, at)
}

// classOfAll is for those that are joined. While a connection was being opened they are of hosts, and of TLS and plain text, one
// after the other: then one way that may be open later is enough, unless pgx has seen that no other need be tried.
func (outer Outer) classOfAll(errs []error, at progress, believe bool) (most Class) {
	retry := false
	for _, err := range errs {
		c := outer.classify(err, at, believe)
		most = max(most, c)
		retry = retry || err == ErrServerFull || err == ErrServerAway || //nolint:errorlint // ours decide, whatever they are explained with
			at == loggingIn && c == Retryable && !endsDial(errs[len(errs)-1])
	}
	if retry && most != Unknown {
		return Retryable
	}
	return most
}

// classOfNet is for the network, and for whatever else says whether it is a timeout.
func classOfNet(err net.Error, at progress) Class {
	var op *net.OpError
	var dns *net.DNSError
	switch dialed := errors.As(err, &op) && op.Op == "dial"; {
	case at == wasSent && !dialed:
		return Unknown
	case errors.As(err, &dns) && dns.IsNotFound:
		return Misconfigured
	case at == loggingIn && op != nil && op.Op == "remote error": // TLS: the server does not take us
		return Misconfigured
	}
	return Retryable
}

// classOfLeaf is for what wraps nothing and has no type.
func classOfLeaf(err error, at progress) Class {
	switch err { //nolint:errorlint // it is a leaf
	case context.Canceled, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed:
		if at == wasSent {
			return Unknown
		}
		return Retryable
	case ErrServerFull, ErrServerAway, ErrUnfit, ErrStandby, ErrReadOnlyServer,
		pgconn.ErrReadOnlyConnection, pgconn.ErrReadWriteConnection, pgconn.ErrPrimaryConnection, pgconn.ErrStandbyConnection: // of target_session_attrs
		return Retryable
	case ErrClosed, ErrInvocationEnded, ErrNestedAcquire, ErrDialPanicked:
		return GiveUp
	}
	if at == loggingIn { // the other side is there, and does not do what the configuration asks for: TLS, a way to authenticate
		return Misconfigured
	}
	return None
}
