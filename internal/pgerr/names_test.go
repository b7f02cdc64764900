package pgerr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

// shown is what Lambda shows of err.
func shown(err error) string {
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

func TestNamedSaysThatTheOutcomeIsUnknownOrThatNothingWasSent(t *testing.T) {
	t.Parallel()
	for want, errs := range map[string][]error{
		"OutcomeUnknownError": {io.EOF, fmt.Errorf("read: %w", syscall.ECONNRESET), says("FATAL", "57P01"), Canceled(context.Canceled, io.EOF), SentUnanswered(io.EOF)},
		"NotSentError":        {safe{errors.New("conn busy"), true}, Unsent("it", io.EOF)},
		"ConnectionLostError": {NotRun("lost", io.EOF), NotRun("ended", says("FATAL", "57P01"))},
		"NotRunError":         {NotRun("a standby", says("ERROR", "25006"))},
		"CanceledError":       {Canceled(context.Canceled, says("ERROR", "57014"))},
		"PgError":             {says("ERROR", "23505"), says("ERROR", "57014")},
	} {
		for _, err := range errs {
			named := Named(err, above)
			assert.Equal(t, want, shown(named), "%v", err)
			assert.ErrorIs(t, named, err)
		}
	}
}

// Whoever compares with == has what he compares with.
func TestNamedLeavesPgxsOwnValues(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, pgx.ErrNoRows, pgx.ErrTooManyRows, pgx.ErrTxClosed, pgx.ErrTxCommitRollback, errors.New("the caller's own")} {
		assert.True(t, Named(err, above) == err, "%v", err) //nolint:errorlint,testifylint // that is the point
	}
}

func TestNoConnectionSaysWhy(t *testing.T) {
	t.Parallel()
	for want, errs := range map[string][]error{
		"NestedAcquireError":   {fmt.Errorf("acquire: %w", ErrNestedAcquire)},
		"ServerFullError":      {fmt.Errorf("%w: %w", context.DeadlineExceeded, ErrServerFull)},
		"ServerAwayError":      {fmt.Errorf("%w: %w", ErrServerAway, io.EOF)},
		"MisconfiguredError":   {fmt.Errorf("dial: %w", Config(io.EOF)), says("FATAL", "28P01")},
		"HookError":            {fmt.Errorf("dial: %w", OfHook(io.EOF))},
		"ConnectError":         {fmt.Errorf("%w; the last dial failed: %w", context.DeadlineExceeded, &pgconn.ConnectError{Config: &pgconn.Config{}})},
		"NoFitConnectionError": {fmt.Errorf("acquire: %w", ErrUnfit)},
		"AcquireTimeoutError":  {fmt.Errorf("acquire: %w", context.DeadlineExceeded)},
		"AcquireCanceledError": {fmt.Errorf("acquire: %w", context.Canceled)},
		"noConn":               {noConn{errors.New("of PrepareConn")}},
	} {
		for _, err := range errs {
			assert.Equal(t, want, shown(NoConnection(err, above)), "%v", err)
		}
	}
}

func TestSentinelsWrapNothing(t *testing.T) {
	t.Parallel()
	for _, err := range []error{ErrClosed, ErrInvocationEnded, ErrNestedAcquire, ErrServerFull, ErrServerAway, ErrUnfit, ErrDialPanicked, ErrStandby} {
		assert.NoError(t, errors.Unwrap(err))
	}
	err := Wrap[SettingsError](io.EOF)
	assert.Equal(t, "SettingsError", shown(err))
	assert.ErrorIs(t, err, io.EOF)
	assert.NotErrorIs(t, Say[LeaseBusyError]("busy"), Say[LeaseBusyError]("busy"), "each value is itself")
}
