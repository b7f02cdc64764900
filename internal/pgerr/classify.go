package pgerr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pattern"
)

// Class is what the caller is to do about an error. If errors are joined, the greatest class counts.
type Class uint8

const (
	None Class = iota // this package does not know the error
	Retryable
	Misconfigured
	GiveUp
	Unknown
)

// progress says how far a call had got when it failed.
type progress uint8

const (
	wasSent   progress = iota // the call was sent to the server, or may have been sent
	notSent                   // the call had no effect: it had no connection, or all was rolled back
	loggingIn                 // a connection was being opened for the call
)

// EndsSession reports whether the server ends the session with err. Then the outcome of what was sent is unknown, unless the session was idle.
func EndsSession(err *pgconn.PgError) bool {
	s := cmp.Or(err.SeverityUnlocalized, err.Severity)
	return s == "FATAL" || s == "PANIC"
}

// StalePlan reports whether err says that a prepared statement is missing, or does not fit the schema any more. Such a statement can be prepared again.
// But the error may be about a statement that a procedure or DO has executed after a COMMIT, so StalePlan does not mean that nothing has happened.
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

// Transient reports whether the server says that the transaction has lost a race with another one. InTx then tries again after some milliseconds. Other
// Retryable errors, for example those of a server that is away or full, last longer than that. The session may have ended with a transient error too.
func Transient(err error) bool { return hasCode(err, "40001", "40P01") }

// endsDial reports whether pgx tries no other host after err.
func endsDial(err error) bool { return hasCode(err, "28P01", "3D000", "42501") }

// classOfPg classifies an error that the server, or a pooler in front of it, has sent.
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
	case at == notSent && (e.Code == "42P05" || e.Code == "26000"): // a pooler has mixed sessions, and the configuration names no pooler
		return Misconfigured
	case StalePlan(e), slices.Contains(again, e.Code):
		return Retryable
	case e.Code == "42501" && e.Routine != "ExecWithCheckOptions", // this routine refuses one row because of a policy, and other routines refuse the role
		e.Code == "53400", kind == "F0":
		return Misconfigured
	}
	return GiveUp
}

// endedIdle reports whether the session was ended because it was idle, or because a pooler had no server for it. A statement that was sent meanwhile did
// not run, and its transaction was rolled back: PostgreSQL checks this before it runs what it has read, and PgBouncer passes nothing on then.
func endedIdle(e *pgconn.PgError) bool {
	return EndsSession(e) && (e.Code == "25P03" || e.Code == "57P05" || e.Code == "08P01" && slices.Contains(bouncerIdle, e.Message))
}

// bouncerIdle are PgBouncer's messages when it ends an idle session, or one that has waited too long for a server.
var bouncerIdle = []string{"idle transaction timeout", "client_idle_timeout", "query_wait_timeout"}

// again are the codes after which the same call may succeed, at once or later.
var again = []string{
	"40001", "40P01", // lost a race
	"55P03",                   // lock_timeout, NOWAIT
	"53000", "53100", "53200", // no memory, no disk
}

// classOfLogin classifies an error that refuses a new connection. It is Retryable unless it is about this client's configuration.
func classOfLogin(e *pgconn.PgError, kind string) Class {
	switch {
	case slices.Contains([]string{"28", "3D", "42", "22", "0A", "F0"}, kind), // user, database, settings, protocol
		e.Code == "55000", // ALLOW_CONNECTIONS false
		kind == "08" && bouncerRefuses.RE().MatchString(e.Message): // PgBouncer has the code 08P01 for nearly everything
		return Misconfigured
	}
	return Retryable
}

// bouncerRefuses matches PgBouncer's messages about the client or its own configuration, and PostgreSQL's English ones that it passes on without codes.
var bouncerRefuses = pattern.Lazy{Text: `unsupported startup parameter|no such (user|database)|authentication failed|not allowed|SSL required|` +
	`invalid (server parameter|user|database)|login rejected|is disabled|does not exist|no pg_hba\.conf entry|permission denied`}

// Outer translates an error whose type belongs to a package above this one. It returns an error that means the same and that this package knows, or nil.
// Classify calls it for each error of a tree. Errors of users' own types are classified only by their methods Misconfigured and SafeToRetry, and Timeout.
type Outer func(err error) (means error)

// Classify returns the class of err, for which it walks the tree of err.
func Classify(err error, outer Outer) Class { return outer.classify(err, wasSent, true) }

// classify classifies err, of a call that had got as far as at. If believe is true, an error counts as Retryable if its SafeToRetry returns true.
func (outer Outer) classify(err error, at progress, believe bool) Class {
	if err == nil {
		return None
	}
	if means := outer(err); means != nil {
		return outer.classify(means, at, believe)
	}
	switch x := err.(type) { //nolint:errorlint // classify walks the tree itself, since a wrapper changes the meaning of the error inside
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
		case x.why == ErrInvocationEnded: //nolint:errorlint // why is this value or a ctx's error, and wraps nothing
			return GiveUp
		}
		return Retryable // the server has stopped the statement
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

// classOfAll classifies joined errors. While a connection is being opened, there is one for each host, with TLS and in plain text, that pgx has tried.
// One host that may accept later is enough then to make them Retryable, unless pgx tries no other host after the last error.
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
	switch err { //nolint:errorlint // err wraps nothing
	case context.Canceled, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed:
		if at == wasSent {
			return Unknown
		}
		return Retryable
	case ErrServerFull, ErrServerAway, ErrUnfit, ErrStandby, ErrReadOnlyServer,
		pgconn.ErrReadOnlyConnection, pgconn.ErrReadWriteConnection, pgconn.ErrPrimaryConnection, pgconn.ErrStandbyConnection: // pgx returns these for target_session_attrs
		return Retryable
	case ErrClosed, ErrInvocationEnded, ErrNestedAcquire, ErrDialPanicked:
		return GiveUp
	}
	if at == loggingIn { // the server was reached, but does not support what the configuration asks for, such as TLS or a way to authenticate
		return Misconfigured
	}
	return None
}

// gone are the operating system's errors that say that the server, or a way to it, is not there.
var gone = []error{
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT,
	syscall.EHOSTUNREACH, syscall.EHOSTDOWN, syscall.ENETUNREACH, syscall.ENETDOWN,
}

// IsAway reports whether a dial failed with err because the server does not answer, is not ready yet, or is no writer. If there are several hosts, this
// must be true of each one: a host that refuses the password, for example, answers. If always is true, a server was reached: it says that it is not
// ready or no writer, or it accepts connections and says nothing.
func IsAway(err error) (away, always bool) {
	switch x := err.(type) { //nolint:errorlint // IsAway walks the tree itself, since each host that was tried has an error
	case nil, *HookError:
		return false, false
	case *SilentServerError:
		away, _ = IsAway(x.err)
		return away, away
	case *pgconn.PgError:
		return stops(x) || poolerLost(x), x.Code == "57P03"
	case *net.DNSError, syscall.Errno:
		_, dns := err.(*net.DNSError) //nolint:errorlint // as above
		return dns || slices.Contains(gone, err), false
	case interface{ Unwrap() []error }:
		away = len(x.Unwrap()) > 0
		for _, e := range x.Unwrap() {
			one, ready := IsAway(e)
			away, always = away && one, always || ready
		}
		return away, away && always
	case net.Error:
		if x.Timeout() && errors.Unwrap(err) == nil {
			return true, false
		}
	}
	switch err { //nolint:errorlint // as above
	case io.EOF, io.ErrUnexpectedEOF, pgconn.ErrConnClosed, context.DeadlineExceeded:
		return true, false
	case ErrStandby, ErrReadOnlyServer, pgconn.ErrStandbyConnection, pgconn.ErrReadOnlyConnection:
		return true, true
	}
	return IsAway(errors.Unwrap(err))
}

// IsLost reports whether err says that a connection ended, or was ended by the server, while it was in use. One that the pool closes itself is not lost.
func IsLost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return stops(pg) || EndsSession(pg) && poolerLost(pg)
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || slices.ContainsFunc(gone, func(e error) bool { return errors.Is(err, e) })
}

// stops reports whether the server says that it shuts down, that it ends this session, or that it is not ready yet.
func stops(e *pgconn.PgError) bool {
	return slices.Contains([]string{"57P01", "57P02", "57P03"}, e.Code)
}

// poolerLost reports whether a pooler says that the server behind it is gone.
func poolerLost(e *pgconn.PgError) bool {
	if e.Code == "08P01" {
		return poolerWords.RE().MatchString(e.Message) && !strings.Contains(e.Message, "authentication")
	}
	return strings.HasPrefix(e.Code, "08")
}

var poolerWords = pattern.Lazy{Text: `server_login|connect failed|server conn|shutting down|starting up`}

// Silent wraps err, the error of a dial whose server accepted the connection and let nobody log in for the time within. next is the time of the next dial.
func Silent(err error, within, next time.Duration) error {
	return &SilentServerError{err, within, next}
}

// SilentServerError is the error of [Silent].
type SilentServerError struct {
	err          error
	within, next time.Duration
}

func (e *SilentServerError) Error() string {
	s := fmt.Sprintf("the server accepts connections and has let nobody log in within %s", e.within)
	if e.next > e.within {
		s += fmt.Sprintf(" (the next try may take %s)", e.next)
	}
	return s + ": " + e.err.Error()
}
func (e *SilentServerError) Unwrap() error { return e.err }

// IsFull reports whether a dial was refused because of a limit: max_connections, the reserved slots, the CONNECTION LIMIT of the role or of the
// database (PostgreSQL says 53300 for each), or a pooler's own limit. PgBouncer says that with a message of its own or of the server behind it.
func IsFull(err error) bool {
	switch x := err.(type) { //nolint:errorlint // IsFull walks the tree itself, since each host that was tried has an error
	case nil:
		return false
	case *pgconn.PgError:
		return x.Code == "53300" || x.Code == "08P01" && fullWords.RE().MatchString(x.Message)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(x.Unwrap(), IsFull)
	}
	return IsFull(errors.Unwrap(err))
}

// fullWords matches PgBouncer's messages, which name the setting that has been reached, and those of PostgreSQL in English that PgBouncer passes on.
var fullWords = pattern.Lazy{Text: `max_client_conn|max_(db|user)_client_connections|too many (clients|connections)|connection slots are reserved`}

// Full returns the error that a caller gets if a dial was refused with err because of a limit. maxConns is the pool's MaxConns.
func Full(err error, maxConns int) error {
	return fmt.Errorf("%w: %w (all environments together must fit into the server's max_connections, the CONNECTION LIMITs of role and"+
		" database, or the pooler's limit, with one connection at least for each environment: raise those limits, lower the number of environments, or share them by FleetBudget; MaxConns is %d here)", ErrServerFull, err, maxConns)
}
