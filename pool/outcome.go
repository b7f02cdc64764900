package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// OutcomeUnknown reports whether err, from a statement or a Commit, leaves open
// whether it has happened: it was sent, or may have been, and the server's answer
// was lost, because the connection broke or ctx ended. A write with such an error
// must not simply be sent again; look whether it is there, or make it idempotent.
//
// It is false when the server said no (nothing has happened, whatever the error; what a
// procedure, or a text of several statements, has committed on its way stays). So it is
// for a statement that was cancelled in time because its ctx had ended: the server's
// 57014 is in the error's chain beside the ctx's. It is false, too, when nothing was
// sent: [*AcquireError], [ErrClosed], [ErrInvocationEnded] before the call,
// pgconn.SafeToRetry. A bare ctx error counts as unknown, since a statement may have
// been under way when the ctx ended. lmipool itself never sends a write twice.
func OutcomeUnknown(err error) bool {
	var acquire *AcquireError
	var sent *sentError
	var rolledBack *rolledBackError
	var pg *pgconn.PgError
	var netErr net.Error
	switch {
	case err == nil, errors.As(err, &acquire), errors.As(err, &rolledBack):
		return false
	case errors.As(err, &sent), errors.Is(err, pgconn.ErrConnClosed):
		// pgx says "conn closed", and that it is safe to retry, also when it finds
		// the connection closed while it waits for an answer.
		return true
	case pgconn.SafeToRetry(err):
		return false
	case errors.As(err, &pg):
		// The connection goes down with the answer: a backend that was told to
		// stop (57P01 ... 57P05) may have committed just before.
		return pg.Severity == "FATAL" || pg.SeverityUnlocalized == "FATAL" || pg.SeverityUnlocalized == "PANIC" || strings.HasPrefix(pg.Code, "08")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &netErr):
		return true
	}
	return pgconn.Timeout(err)
}

// sentError is a reason for which nobody is told the answer to what was sent.
type sentError struct{ error }

func (e *sentError) Unwrap() error { return e.error }
