package pgerr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
)

// ReadOnlySetting is the setting that decides whether a session's transactions can write, unless they say so themselves.
const ReadOnlySetting = "default_transaction_read_only"

// Package pool exports these under the same names.
var (
	ErrClosed          error = &PoolClosedError{said("lmipool: the pool is closed")}
	ErrInvocationEnded error = &InvocationEndedError{said("lmipool: the invocation has ended")}
	ErrNestedAcquire   error = &NestedAcquireError{said("lmipool: nested acquire: all connections are held by those who wait for another")}
	ErrNoTime          error = &NoTimeError{said("lmipool: not enough time is left")}
	ErrServerFull      error = &ServerFullError{said("lmipool: the server takes no more connections")}
	ErrServerAway      error = &ServerAwayError{said("lmipool: no server answers that the pool can use")}
)

// These say why there is no connection.
var (
	ErrUnfit          = Say[NoFitConnectionError]("lmipool: no connection passed its checks; see PrepareConn, ShouldPing and MaxConnLifetime")
	ErrDialPanicked   = Say[CallbackPanicError]("lmipool: the dial panicked; see the log")
	ErrStandby        = Say[StandbyError]("the server is a standby, and this pool writes")
	ErrReadOnlyServer = Say[StandbyError]("the server's configuration makes it read-only (" + ReadOnlySetting + "), and this pool writes")
)

// wrapped has the text of the error in it. The type that embeds wrapped says what the error means.
type wrapped struct{ error }

func (e wrapped) Unwrap() error {
	if _, leaf := e.error.(text); leaf { //nolint:errorlint // said puts a text directly into wrapped
		return nil
	}
	return e.error
}

type (
	MisconfiguredError  struct{ wrapped }
	RolledBackError     struct{ wrapped }
	OutcomeUnknownError struct{ wrapped }
	PartlyDoneError     struct{ wrapped }
	HookError           struct{ wrapped }
)

// Config marks err as Misconfigured: the configuration or the rights have to be changed.
func Config(err error) error { return &MisconfiguredError{wrapped{err}} }

func (e *MisconfiguredError) Misconfigured() bool { return true }

// RolledBack marks err as the error of a call whose transaction was certainly rolled back, which err alone would not say.
func RolledBack(err error) error { return &RolledBackError{wrapped{err}} }

func (e *RolledBackError) Error() string { return strings.ReplaceAll(e.error.Error(), mayHave, "") }

func (e *OutcomeUnknownError) Error() string {
	return "lmipool: no answer came" + mayHave + ": " + strings.TrimPrefix(e.error.Error(), "lmipool: ")
}

// mayHave is cut out of the text by RolledBackError, since it is not true any more after a rollback.
const mayHave = ", so it may have happened"

// SentUnanswered marks err as the reason why the caller does not get the answer to a call that was sent.
func SentUnanswered(err error) error { return &OutcomeUnknownError{wrapped{err}} }

// PartlyDone marks err as not Retryable, because a part of the call, or of its transaction, may have been committed before the call failed.
func PartlyDone(err error) error { return &PartlyDoneError{wrapped{err}} }

// OfHook marks err as the error that the user's BeforeConnect has returned: such an error says nothing about the server.
func OfHook(err error) error { return &HookError{wrapped{err}} }

// Unsent returns an error that says that what, such as "the statement", was not sent because of err.
func Unsent(what string, err error) error { return &NotSentError{what, err} }

// NotSentError is the error of [Unsent] and [Named].
type NotSentError struct {
	what string // "" if err itself says that nothing was sent
	err  error
}

func (e *NotSentError) Error() string {
	why := e.err.Error()
	if i := strings.LastIndex(why, alreadyDone); i >= 0 {
		return "lmipool: " + cmp.Or(e.what, "the statement") + " was not sent: " + endedBefore + why[i+len(alreadyDone):]
	}
	if e.what == "" {
		return why
	}
	return "lmipool: " + e.what + " was not sent: " + why
}
func (e *NotSentError) Unwrap() error     { return e.err }
func (e *NotSentError) SafeToRetry() bool { return true }

// As makes pgconn.Timeout report true if a ctx had ended before the call, for whatever reason, as it does for pgx's own error.
func (e *NotSentError) As(target any) bool {
	return (errors.Is(e.err, context.DeadlineExceeded) || errors.Is(e.err, context.Canceled)) && AsTimeout(target)
}

// EndedBefore returns err, the error of a ctx that had ended before the call, with words that say so.
func EndedBefore(err error) error { return fmt.Errorf(endedBefore+"%w", err) }

const (
	endedBefore = "the context had ended before the call: "
	alreadyDone = "context already done: " // in the text of pgx's error, whose type is not exported
)

// NotRun marks err as the error of a statement that certainly had no effect. why is the reason, for example that the reset in front of it failed.
func NotRun(why string, err error) error {
	n := &NotRunError{why, err}
	if IsLost(err) {
		return &ConnectionLostError{wrapped{n}}
	}
	return n
}

// NotRunError is the error of [NotRun].
type NotRunError struct {
	why string
	err error
}

func (e *NotRunError) Error() string     { return "lmipool: " + e.why + ": " + RolledBack(e.err).Error() }
func (e *NotRunError) Unwrap() error     { return RolledBack(e.err) }
func (e *NotRunError) SafeToRetry() bool { return true }

// DidNotRun reports whether err has an error of NotRun in its tree, so that the statement can run again on another connection.
func DidNotRun(err error) bool {
	var n *NotRunError
	return errors.As(err, &n)
}

// Canceled returns the error of a statement that was stopped because its ctx ended. It wraps both why, the ctx's error, and err, the statement's.
func Canceled(why, err error) error { return &CanceledError{why, err} }

// CanceledError is the error of [Canceled].
type CanceledError struct{ why, err error }

func (e *CanceledError) Error() string {
	return "lmipool: canceled: " + e.why.Error() + ": " + e.err.Error()
}
func (e *CanceledError) Unwrap() []error { return []error{e.why, e.err} }

// As makes pgconn.Timeout report true if the ctx's deadline was over.
func (e *CanceledError) As(target any) bool {
	return errors.Is(e.why, context.DeadlineExceeded) && AsTimeout(target)
}

// AsTimeout sets target, the target of errors.As, to pgconn's timeout error if target is for that type. pgconn.Timeout looks for that type, which only
// pgconn can make. So this library's errors that mean a timeout call AsTimeout in their methods As. Their text and their tree do not change by that.
func AsTimeout(target any) bool {
	t := timedOut()
	return t != nil && reflect.TypeOf(target) == reflect.PointerTo(reflect.TypeOf(t)) && errors.As(t, target)
}

// timedOut returns pgconn's timeout error, which it gets from a connection to nothing, or nil if this version of pgconn has no such error.
var timedOut = sync.OnceValue(func() (timeout error) {
	here, _ := net.Pipe()
	c, err := pgconn.Construct(&pgconn.HijackedConn{Conn: here, Config: &pgconn.Config{
		BuildFrontend: pgproto3.NewFrontend,
		BuildContextWatcherHandler: func(*pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.DeadlineContextWatcherHandler{Conn: here}
		},
	}})
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	for err := c.Exec(ctx, "").Close(); pgconn.Timeout(err); err = errors.Unwrap(err) {
		timeout = err // the innermost is the timeout itself
	}
	return timeout
})

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
