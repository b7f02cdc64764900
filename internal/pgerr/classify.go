package pgerr

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// Class is what the caller is to do about an error. If errors are joined, the greatest class counts.
type Class uint8

const (
	None Class = iota // it is not known here
	Retryable
	Misconfigured
	GiveUp
	Unknown
)

// progress is how far a call had got when it failed.
type progress uint8

const (
	wasSent   progress = iota // it was sent to the server, or may have been
	notSent                   // there was no connection, or all was rolled back
	loggingIn                 // a connection was being opened
)

// EndsSession reports whether the server ends the session with err. Then the outcome of what was sent is unknown, except if the session had idled.
func EndsSession(err *pgconn.PgError) bool {
	s := cmp.Or(err.SeverityUnlocalized, err.Severity)
	return s == "FATAL" || s == "PANIC"
}

// StalePlan reports whether err says that a statement was prepared before the schema, or the session, has changed. This may be not the statement
// that was sent but one that it has executed, after it had committed something.
func StalePlan(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "26000" || pg.Code == "0A000" && pg.Routine == "RevalidateCachedQuery")
}

func hasCode(err error, codes ...string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && slices.Contains(codes, pg.Code)
}

// ReadOnly reports whether the server says that it does not write.
func ReadOnly(err error) bool { return hasCode(err, "25006") }

// Transient reports whether the server says that the transaction lost a race, which it also does for some sessions that it ends. Other Retryable
// errors, of a server that is away or full, take longer than the milliseconds that InTx waits.
func Transient(err error) bool { return hasCode(err, "40001", "40P01") }

// endsDial reports whether pgx tries no other host after err.
func endsDial(err error) bool { return hasCode(err, "28P01", "3D000", "42501") }

// classOfPg classifies what the server says, or a pooler in its place.
func classOfPg(e *pgconn.PgError, at progress) Class {
	kind := e.Code[:min(2, len(e.Code))]
	switch {
	case at == loggingIn:
		return classOfLogin(e, kind)
	case kind == "28", e.Code == "3D000": // errors of a login, which a pooler may pass on later
		return Misconfigured
	case e.Code == "53300", e.Code == "57P03", endedIdle(e):
		return Retryable
	case kind == "08", e.Code == "40003", EndsSession(e):
		// The connection ends with this answer. A backend that was told to stop (57P01 … 57P05) may have committed just before.
		if at == wasSent {
			return Unknown
		}
		return Retryable
	case at == notSent && (e.Code == "42P05" || e.Code == "26000"): // there is a pooler that the configuration does not name
		return Misconfigured
	case StalePlan(e), slices.Contains(again, e.Code):
		return Retryable
	case e.Code == "42501" && e.Routine != "ExecWithCheckOptions", // that routine refuses one row by a policy, not the role
		e.Code == "53400", kind == "F0":
		return Misconfigured
	}
	return GiveUp
}

// endedIdle reports whether the session was ended because it idled, or because a pooler has found no server for it. What was sent to it meanwhile
// has not run, and its transaction was rolled back: PostgreSQL checks this before it runs what it has read, and PgBouncer passes on nothing then.
func endedIdle(e *pgconn.PgError) bool {
	return EndsSession(e) && (e.Code == "25P03" || e.Code == "57P05" || e.Code == "08P01" && slices.Contains(bouncerIdle, e.Message))
}

// bouncerIdle are PgBouncer's messages for a client that has no server, or whose server waits for it.
var bouncerIdle = []string{"idle transaction timeout", "client_idle_timeout", "query_wait_timeout"}

// again are the codes after which the same call may succeed, at once or later.
var again = []string{
	"40001", "40P01", // lost a race
	"55P03",                   // lock_timeout, NOWAIT
	"53000", "53100", "53200", // no memory, no disk
}

// classOfLogin classifies an error that refuses a new connection. Nothing was sent, so it is Retryable unless it is about this client's own
// configuration.
func classOfLogin(e *pgconn.PgError, kind string) Class {
	switch {
	case slices.Contains([]string{"28", "3D", "42", "22", "0A", "F0"}, kind), // user, database, settings, protocol
		e.Code == "55000", // ALLOW_CONNECTIONS false
		kind == "08" && bouncerRefuses.MatchString(e.Message): // PgBouncer has the code 08P01 for nearly everything
		return Misconfigured
	}
	return Retryable
}

// bouncerRefuses are PgBouncer's messages about the client or its own configuration, and those of PostgreSQL, in English, that it passes on without
// their code.
var bouncerRefuses = regexp.MustCompile(`unsupported startup parameter|no such (user|database)|authentication failed|not allowed|SSL required|` +
	`invalid (server parameter|user|database)|login rejected|is disabled|does not exist|no pg_hba\.conf entry|permission denied`)

// Outer says what an error means whose type belongs to a package above this one: it returns an error that means the same and is known here, or nil.
// Classify calls it for each error of a tree. Errors of users' own types are classified by their methods only.
type Outer func(err error) (means error)

// Classify walks the tree of err.
func Classify(err error, outer Outer) Class { return outer.classify(err, wasSent, true) }

// With believe, an error that calls itself safe to retry counts as such.
func (outer Outer) classify(err error, at progress, believe bool) Class {
	if err == nil {
		return None
	}
	if means := outer(err); means != nil {
		return outer.classify(means, at, believe)
	}
	switch x := err.(type) { //nolint:errorlint // it walks the tree itself: a wrapper changes the meaning of what is inside
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
	case net.Error: // context.DeadlineExceeded is one
		return classOfNet(x, at)
	}
	if x, ok := err.(interface{ Misconfigured() bool }); ok && x.Misconfigured() {
		return Misconfigured
	}
	if x, ok := err.(interface{ SafeToRetry() bool }); ok {
		// pgx says that "conn closed" is safe to retry, also when it finds the connection closed while it waits for an answer.
		if x.SafeToRetry() && believe && !errors.Is(err, pgconn.ErrConnClosed) {
			return Retryable
		}
		believe = believe && x.SafeToRetry() // the error inside knows less about what was sent
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

// classOfAll classifies joined errors. Those of a connection that was being opened are of the hosts, and of TLS and plain text, that were tried one
// after the other. Then one that may succeed later is enough, unless the last is one after which pgx tries no other.
func (outer Outer) classOfAll(errs []error, at progress, believe bool) (most Class) {
	retry := false
	for _, err := range errs {
		c := outer.classify(err, at, believe)
		most = max(most, c)
		retry = retry || err == ErrServerFull || err == ErrServerAway || //nolint:errorlint // ours decide, whatever they are joined with
			at == loggingIn && c == Retryable && !endsDial(errs[len(errs)-1])
	}
	if retry && most != Unknown {
		return Retryable
	}
	return most
}

// classOfNet classifies errors of the network, and others that have a method Timeout.
func classOfNet(err net.Error, at progress) Class {
	var op *net.OpError
	var dns *net.DNSError
	switch dialed := errors.As(err, &op) && op.Op == "dial"; {
	case at == wasSent && !dialed:
		return Unknown
	case errors.As(err, &dns) && dns.IsNotFound:
		return Misconfigured
	case at == loggingIn && op != nil && op.Op == "remote error": // TLS: the server does not accept us
		return Misconfigured
	}
	return Retryable
}

// classOfLeaf classifies errors that wrap nothing and have no type of their own.
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
	if at == loggingIn { // the server is there, but does not support what the configuration asks for: TLS, a way to authenticate
		return Misconfigured
	}
	return None
}
