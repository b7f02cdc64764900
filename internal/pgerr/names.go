package pgerr

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Lambda shows the name of the outermost type of the error that a handler returned, as the errorType, and nothing else of its type. So each
// situation has a type of its own here, exported for its name. Users find errors by the values and types of package pool.

type (
	PoolClosedError      struct{ wrapped }
	InvocationEndedError struct{ wrapped }
	LeaseBusyError       struct{ wrapped }
	LeaseReleasedError   struct{ wrapped }
	NilArgumentError     struct{ wrapped }
	ExecModeError        struct{ wrapped } // With, in one of pgx's modes in which it cannot work
	SettingsError        struct{ wrapped } // of With: refused by us, or by the server
	BatchError           struct{ wrapped } // what a batch cannot have, and a batch that was not closed
	TxOptionsError       struct{ wrapped }
	TxNotBegunError      struct{ wrapped }
	TxEndedError         struct{ wrapped } // by the function of InTx
	TxRetriesError       struct{ wrapped } // InTx has no try left
	CallbackPanicError   struct{ wrapped } // in a function of the user's
	CallbackExitError    struct{ wrapped } // runtime.Goexit in one
	HandlerError         struct{ wrapped } // a handler that Wrap cannot take
	ReplyTypeError       struct{ wrapped } // what OnOverrun or OnPanic returned
	ConnectionLostError  struct{ wrapped } // and nothing has happened
)

// Why somebody got no connection. One that waits between other callers for its turn is a ServerFullError, say.
type (
	NestedAcquireError   struct{ wrapped }
	NoTimeError          struct{ wrapped }
	ServerFullError      struct{ wrapped }
	ServerAwayError      struct{ wrapped }
	ConnectError         struct{ wrapped }
	NoFitConnectionError struct{ wrapped }
	StandbyError         struct{ wrapped } // a server that does not write
	AcquireTimeoutError  struct{ wrapped }
	AcquireCanceledError struct{ wrapped }
)

// text is an error that wraps nothing.
type text string

func (t text) Error() string { return string(t) }

func said(s string) wrapped { return wrapped{text(s)} }

// Say is an error of type T that says s.
func Say[T ~struct{ wrapped }](s string) error { return newOf[T](said(s)) }

// Wrap is err in type T.
func Wrap[T ~struct{ wrapped }](err error) error { return newOf[T](wrapped{err}) }

func newOf[T ~struct{ wrapped }](w wrapped) error {
	t := T(struct{ wrapped }{w})
	return any(&t).(error)
}

// NoConnection is err, of a caller who got no connection, in a type that says why.
func NoConnection(err error, outer Outer) error {
	var hook *HookError
	var dial *pgconn.ConnectError
	switch w := (wrapped{err}); {
	case errors.Is(err, ErrNestedAcquire):
		return &NestedAcquireError{w}
	case errors.Is(err, ErrServerFull):
		return &ServerFullError{w}
	case errors.Is(err, ErrServerAway):
		return &ServerAwayError{w}
	case Classify(err, outer) == Misconfigured:
		return &MisconfiguredError{w}
	case errors.As(err, &hook):
		return &HookError{w}
	case errors.As(err, &dial):
		return &ConnectError{w}
	case errors.Is(err, ErrUnfit):
		return &NoFitConnectionError{w}
	case errors.Is(err, ErrNoTime):
		return &NoTimeError{w}
	case errors.Is(err, context.DeadlineExceeded):
		return &AcquireTimeoutError{w}
	case errors.Is(err, context.Canceled):
		return &AcquireCanceledError{w}
	}
	return err
}

// Named is err, of something that was to be sent, in a type that says so if its outcome is unknown, or if it was not sent. What the server says
// of a statement, and what pgx says that is neither, stays as it is.
func Named(err error, outer Outer) error {
	switch x := err.(type) { //nolint:errorlint // the outermost type is what is shown
	case nil, *OutcomeUnknownError, *NotSentError, *NotRunError, *ConnectionLostError:
		return err
	case *pgconn.PgError:
		if !EndsSession(x) {
			return err
		}
	}
	switch safe, ok := err.(interface{ SafeToRetry() bool }); Classify(err, outer) {
	case Unknown:
		return SentUnanswered(err)
	case Retryable:
		if ok && safe.SafeToRetry() || pgconn.SafeToRetry(err) && strings.Contains(err.Error(), alreadyDone) { // pgx's own
			return &NotSentError{err: err}
		}
	}
	return err
}
