package pgerr

import (
	"cmp"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// EndsSession reports whether the server ends the session with err.
func EndsSession(err *pgconn.PgError) bool {
	s := cmp.Or(err.SeverityUnlocalized, err.Severity)
	return s == "FATAL" || s == "PANIC"
}

// StalePlan reports whether err says that a statement was prepared before the schema, or the
// session, has changed. It may be another statement than the one that was sent: one that this
// has executed, after it had committed something.
func StalePlan(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "26000" || pg.Code == "0A000" && pg.Routine == "RevalidateCachedQuery")
}

// ReadOnly reports whether the server says that it does not write.
func ReadOnly(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "25006"
}

// Transient reports whether err is the server's word that the transaction lost a
// race. PostgreSQL says 40001 also for a session that it ends. What else is Retryable
// (a server that is away, or full) is not over within the milliseconds that InTx waits.
func Transient(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}
