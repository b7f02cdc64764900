package pgerr

import (
	"cmp"
	"errors"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// Class is what is to be done about an error; of those that are joined the greatest counts.
type Class uint8

const (
	None Class = iota // nobody knows
	Retryable
	Misconfigured
	GiveUp
	Unknown
)

// progress is how far it had got, whatever failed.
type progress uint8

const (
	wasSent   progress = iota // to the server, or it may have been
	notSent                   // there was no connection, or all was rolled back
	loggingIn                 // a connection was being opened
)

// EndsSession reports whether the server ends the session with err.
func EndsSession(err *pgconn.PgError) bool {
	s := cmp.Or(err.SeverityUnlocalized, err.Severity)
	return s == "FATAL" || s == "PANIC"
}

// StalePlan reports whether err says that a statement was prepared before the schema, or the session, has changed. It may be
// another statement than the one that was sent: one that this has executed, after it had committed something.
func StalePlan(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "26000" || pg.Code == "0A000" && pg.Routine == "RevalidateCachedQuery")
}

// hasCode reports whether err is the server's, with one of codes.
func hasCode(err error, codes ...string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && slices.Contains(codes, pg.Code)
}

// ReadOnly reports whether the server says that it does not write.
func ReadOnly(err error) bool { return hasCode(err, "25006") }

// Transient reports whether err is the server's word that the transaction lost a race. PostgreSQL says 40001 also for a session
// that it ends. What else is Retryable (a server that is away, or full) is not over within the milliseconds that InTx waits.
func Transient(err error) bool { return hasCode(err, "40001", "40P01") }

// endsDial reports whether err is one after which pgx tries no other host.
func endsDial(err error) bool { return hasCode(err, "28P01", "3D000", "42501") }

// classOfPg is for what the server says, or a pooler in its place.
func classOfPg(e *pgconn.PgError, at progress) Class {
	kind := e.Code[:min(2, len(e.Code))]
	switch {
	case at == loggingIn:
		return classOfLogin(e, kind)
	case kind == "28", e.Code == "3D000": // a login's, wherever they come from
		return Misconfigured
	case e.Code == "53300", e.Code == "57P03", endedIdle(e):
		return Retryable
	case kind == "08", e.Code == "40003", EndsSession(e):
		// The connection goes down with the answer: a backend that was told to
		// stop (57P01 … 57P05) may have committed just before.
		if at == wasSent {
			return Unknown
		}
		return Retryable
	case at == notSent && (e.Code == "42P05" || e.Code == "26000"): // a pooler in between that nobody told us of
		return Misconfigured
	case StalePlan(e), slices.Contains(again, e.Code):
		return Retryable
	case e.Code == "42501" && e.Routine != "ExecWithCheckOptions", // which refuses one row by a policy, and not the role
		e.Code == "53400", kind == "F0":
		return Misconfigured
	}
	return GiveUp
}

// endedIdle reports whether the session was ended for doing nothing, or a pooler has found no server for it. What was sent to it
// meanwhile has not run, and its transaction was rolled back: PostgreSQL looks for that before it runs what it has read, and
// PgBouncer passes on nothing to a server that it leaves.
func endedIdle(e *pgconn.PgError) bool {
	return EndsSession(e) && (e.Code == "25P03" || e.Code == "57P05" || e.Code == "08P01" && slices.Contains(bouncerIdle, e.Message))
}

// bouncerIdle are PgBouncer's words for a client that has no server, or whose server waits for it.
var bouncerIdle = []string{"idle transaction timeout", "client_idle_timeout", "query_wait_timeout"}

// again are the codes after which the same may go well, in time or at once.
var again = []string{
	"40001", "40P01", // lost a race
	"55P03",                   // lock_timeout, NOWAIT
	"53000", "53100", "53200", // no memory, no disk
}

// classOfLogin is for what refuses a new connection. Nothing was sent, and what is not said of this client may pass.
func classOfLogin(e *pgconn.PgError, kind string) Class {
	switch {
	case slices.Contains([]string{"28", "3D", "42", "22", "0A", "F0"}, kind), // user, database, settings, protocol
		e.Code == "55000", // ALLOW_CONNECTIONS false
		kind == "08" && bouncerRefuses.MatchString(e.Message): // which has 08P01 for nearly everything
		return Misconfigured
	}
	return Retryable
}

// bouncerRefuses are PgBouncer's words for what is wrong with the client or its own configuration, and PostgreSQL's, in English,
// which it passes on without their code.
var bouncerRefuses = regexp.MustCompile(`unsupported startup parameter|no such (user|database)|authentication failed|not allowed|SSL required|` +
	`invalid (server parameter|user|database)|login rejected|is disabled|does not exist|no pg_hba\.conf entry|permission denied`)
