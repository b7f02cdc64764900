package pgerr

import (
	"context"
	"errors"
	"net"
	"reflect"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
)

// ReadOnlySetting is what a session is read-only by, or writes, as long as its transactions do not say.
const ReadOnlySetting = "default_transaction_read_only"

// What package pool has as errors of the same names.
var (
	ErrClosed          error = &PoolClosedError{said("lmipool: the pool is closed")}
	ErrInvocationEnded error = &InvocationEndedError{said("lmipool: the invocation has ended")}
	ErrNestedAcquire   error = &NestedAcquireError{said("lmipool: nested acquire: all connections are held by those who wait for another")}
	ErrServerFull      error = &ServerFullError{said("lmipool: the server takes no more connections")}
	ErrServerAway      error = &ServerAwayError{said("lmipool: no server answers that the pool can use")}
)

// Why there is no connection.
var (
	ErrUnfit          = Say[NoFitConnectionError]("lmipool: no connection passed its checks; see PrepareConn and ShouldPing")
	ErrDialPanicked   = Say[CallbackPanicError]("lmipool: the dial panicked; see the log")
	ErrStandby        = Say[StandbyError]("the server is a standby, and this pool writes")
	ErrReadOnlyServer = Say[StandbyError]("the server's configuration makes it read-only (" + ReadOnlySetting + "), and this pool writes")
)

// wrapped says what err says. What it means besides, is in the type that embeds it.
type wrapped struct{ error }

func (e wrapped) Unwrap() error {
	if _, leaf := e.error.(text); leaf { //nolint:errorlint // it is said's
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

// Config marks an error of the configuration, or of rights: Misconfigured.
func Config(err error) error { return &MisconfiguredError{wrapped{err}} }

func (e *MisconfiguredError) Misconfigured() bool { return true }

// RolledBack is for an error after which the transaction was rolled back, though the error itself would leave that open.
func RolledBack(err error) error { return &RolledBackError{wrapped{err}} }

// SentUnanswered is for a reason for which nobody is told the answer to what was sent.
func SentUnanswered(err error) error { return &OutcomeUnknownError{wrapped{err}} }

// PartlyDone is for an error after which the same call is not safe, though the error itself would say so: something of the call,
// or of its transaction, may have been committed before it failed.
func PartlyDone(err error) error { return &PartlyDoneError{wrapped{err}} }

// OfHook is what a user's BeforeConnect returned: whatever it says is gone, it is not the server.
func OfHook(err error) error { return &HookError{wrapped{err}} }

// Unsent is for what was not sent because of err: what says what that was, such as "the statement".
func Unsent(what string, err error) error { return &NotSentError{what, err} }

type NotSentError struct {
	what string // "": err says it
	err  error
}

func (e *NotSentError) Error() string {
	if e.what == "" {
		return e.err.Error()
	}
	return "lmipool: " + e.what + " was not sent: " + e.err.Error()
}
func (e *NotSentError) Unwrap() error     { return e.err }
func (e *NotSentError) SafeToRetry() bool { return true }

// As has pgconn.Timeout say what it says of pgx's error when a ctx had ended before, for whatever reason.
func (e *NotSentError) As(target any) bool {
	return (errors.Is(e.err, context.DeadlineExceeded) || errors.Is(e.err, context.Canceled)) && AsTimeout(target)
}

// NotRun is for a statement that the server has not run: it was refused, or never sent, because of where it was to run, or the
// reset in front of it has failed; or for a read, which has no effect. why says which.
func NotRun(why string, err error) error {
	n := &NotRunError{why, err}
	if IsLost(err) {
		return &ConnectionLostError{wrapped{n}}
	}
	return n
}

type NotRunError struct {
	why string
	err error
}

func (e *NotRunError) Error() string     { return "lmipool: " + e.why + ": " + e.err.Error() }
func (e *NotRunError) Unwrap() error     { return RolledBack(e.err) }
func (e *NotRunError) SafeToRetry() bool { return true }

// DidNotRun reports whether err is of a statement that can be run once more, elsewhere: NotRun's.
func DidNotRun(err error) bool {
	var n *NotRunError
	return errors.As(err, &n)
}

// Canceled is the error of a statement that was stopped because its ctx ended, which is why: both errors are in its chain, the
// ctx's and the server's.
func Canceled(why, err error) error { return &CanceledError{why, err} }

type CanceledError struct{ why, err error }

func (e *CanceledError) Error() string {
	return "lmipool: canceled: " + e.why.Error() + ": " + e.err.Error()
}
func (e *CanceledError) Unwrap() []error { return []error{e.why, e.err} }

// As has pgconn.Timeout say what it says of pgx's error when a deadline is over.
func (e *CanceledError) As(target any) bool {
	return errors.Is(e.why, context.DeadlineExceeded) && AsTimeout(target)
}

// AsTimeout lends target, of errors.As, pgconn's error if that is what it looks for. pgconn.Timeout looks for an error of a type
// that only pgconn can make. An error of ours that means the same, since a ctx has ended that pgx would have said it of, has a
// method As that lends it one: it is not in the chain, which says nothing that pgconn has not said.
func AsTimeout(target any) bool {
	t := timedOut()
	return t != nil && reflect.TypeOf(target) == reflect.PointerTo(reflect.TypeOf(t)) && errors.As(t, target)
}

// timedOut is such an error of pgconn's, from a connection that nobody uses; nil if this pgconn makes none.
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
		timeout = err // the innermost is one by itself
	}
	return timeout
})
