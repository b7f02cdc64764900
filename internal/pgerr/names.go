package pgerr

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// If a handler returns an error, Lambda reports the name of its outermost type as the errorType. So each situation has a type of its own here, which
// is exported for its name. Users find errors by the values and types of package pool.

type (
	PoolClosedError      struct{ wrapped }
	InvocationEndedError struct{ wrapped }
	LeaseBusyError       struct{ wrapped }
	LeaseReleasedError   struct{ wrapped }
	NilArgumentError     struct{ wrapped }
	ExecModeError        struct{ wrapped } // With cannot work in the pgx mode that was asked for
	SettingsError        struct{ wrapped } // the pool or the server has refused the settings of With
	BatchError           struct{ wrapped } // a batch has something that it cannot have, or was not closed
	TxOptionsError       struct{ wrapped }
	TxNotBegunError      struct{ wrapped }
	TxEndedError         struct{ wrapped } // the function of InTx has ended the transaction
	TxRetriesError       struct{ wrapped } // InTx has no try left
	CallbackPanicError   struct{ wrapped } // the user's function has panicked
	CallbackExitError    struct{ wrapped } // the user's function has called runtime.Goexit
	HandlerError         struct{ wrapped } // Wrap cannot take the handler
	ReplyTypeError       struct{ wrapped } // OnOverrun or OnPanic has returned a value of the wrong type
	ConnectionLostError  struct{ wrapped } // the connection was lost, and the statement had no effect
)

// These types say why a caller got no connection: see [NoConnection].
type (
	NestedAcquireError   struct{ wrapped }
	NoTimeError          struct{ wrapped }
	ServerFullError      struct{ wrapped }
	ServerAwayError      struct{ wrapped }
	ConnectError         struct{ wrapped }
	NoFitConnectionError struct{ wrapped }
	StandbyError         struct{ wrapped } // the server does not write
	AcquireTimeoutError  struct{ wrapped }
	AcquireCanceledError struct{ wrapped }
)

// text is an error that wraps nothing.
type text string

func (t text) Error() string { return string(t) }

func said(s string) wrapped { return wrapped{text(s)} }

// Say returns an error of type T with the text s, which wraps nothing.
func Say[T ~struct{ wrapped }](s string) error { return newOf[T](said(s)) }

// Wrap returns an error of type T that wraps err and has its text.
func Wrap[T ~struct{ wrapped }](err error) error { return newOf[T](wrapped{err}) }

func newOf[T ~struct{ wrapped }](w wrapped) error {
	t := T(struct{ wrapped }{w})
	return any(&t).(error)
}

// NoConnection wraps err, the error of a caller who got no connection, in a type that says why. If there is no such type, it returns err.
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

// Named wraps err, the error of a call, in a type that says so if the call's outcome is unknown or if it was not sent. Any other err stays as it is.
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
		if ok && safe.SafeToRetry() || pgconn.SafeToRetry(err) && strings.Contains(err.Error(), alreadyDone) { // pgx's error for a ctx that had ended
			return &NotSentError{err: err}
		}
	}
	return err
}
