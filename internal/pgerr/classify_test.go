package pgerr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noConn is an error of a package above, as pool's AcquireError.
type noConn struct{ error }

// closedAbove is one that has to be given up, whatever is inside.
type closedAbove struct{ error }

func (e closedAbove) Unwrap() error { return e.error }

// above is what they mean.
func above(err error) error {
	switch x := err.(type) { //nolint:errorlint // of err itself: Classify goes through what is inside
	case noConn:
		return RolledBack(x.error)
	case closedAbove:
		return ErrClosed
	}
	return nil
}

func says(severity, code string) error {
	return &pgconn.PgError{Severity: severity, SeverityUnlocalized: severity, Code: code}
}

func TestClassesByTheError(t *testing.T) {
	t.Parallel()
	for want, errs := range map[Class][]error{
		None: {
			nil, pgx.ErrNoRows, pgx.ErrTxClosed, errors.New("the caller's own"), RolledBack(SentUnanswered(errors.New("the caller's own"))),
		},
		GiveUp: {
			says("ERROR", "42P01"), says("ERROR", "22P02"), says("ERROR", ""), says("ERROR", "57014"), says("ERROR", "25006"), says("ERROR", "XX000"),
			says("ERROR", "P0001"), ErrNestedAcquire, ErrClosed, ErrInvocationEnded, ErrDialPanicked,
			closedAbove{context.DeadlineExceeded},
			noConn{ErrNestedAcquire},
			Canceled(ErrInvocationEnded, says("ERROR", "57014")), RolledBack(SentUnanswered(ErrInvocationEnded)), errors.Join(says("ERROR", "40001"), says("ERROR", "23505")),
			PartlyDone(says("ERROR", "40001")),
		},
		Misconfigured: {
			says("FATAL", "28P01"), says("FATAL", "28000"), says("FATAL", "3D000"), says("ERROR", "42501"), says("ERROR", "53400"), says("ERROR", "F0000"),
			Config(errors.New("no port")), Config(io.EOF), fmt.Errorf("%w", Config(io.EOF)),
			noConn{Config(io.EOF)},
			errors.Join(says("ERROR", "40001"), Config(io.EOF)),
			noConn{says("ERROR", "42P05")},
		},
		Retryable: {
			says("ERROR", "40001"), says("ERROR", "40P01"), says("ERROR", "55P03"), says("ERROR", "53200"), says("ERROR", "26000"), says("FATAL", "53300"),
			says("FATAL", "57P03"), says("FATAL", "57P05"), ErrServerFull, ErrServerAway, Full(says("ERROR", "25006"), 8), Unsent("it", context.Canceled),
			noConn{context.DeadlineExceeded},
			noConn{io.EOF},
			noConn{says("FATAL", "57P01")},
			noConn{ErrUnfit},
			noConn{ErrStandby},
			noConn{OfHook(context.DeadlineExceeded)},
			&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Canceled(context.Canceled, says("ERROR", "57014")),
			RolledBack(io.ErrUnexpectedEOF), RolledBack(SentUnanswered(context.Canceled)), RolledBack(says("FATAL", "40001")), NotRun("lost", io.EOF),
			NotRun("the session could not be reset", &pgconn.PgError{Severity: "FATAL", Code: "57P01"}), errors.Join(pgx.ErrTxClosed, says("ERROR", "40001")),
			fmt.Errorf("%w: %w", ErrServerFull, says("FATAL", "28P01")), fmt.Errorf("%w: %w", ErrServerAway, Config(io.EOF)),
		},
		Unknown: {
			context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, fmt.Errorf("receive message: %w", io.EOF), net.ErrClosed, pgconn.ErrConnClosed,
			says("FATAL", "57P01"), says("PANIC", "57P02"), says("FATAL", "40001"), says("ERROR", "40003"), says("ERROR", "08006"),
			&pgconn.PgError{Severity: "FATAL", Code: "57P01"}, &pgconn.PgError{Severity: "SCHWERWIEGEND", SeverityUnlocalized: "FATAL", Code: "57P01"},
			&net.OpError{Op: "read", Err: syscall.ECONNRESET}, os.ErrDeadlineExceeded, SentUnanswered(ErrInvocationEnded), SentUnanswered(says("ERROR", "40001")),
			Canceled(context.Canceled, os.ErrDeadlineExceeded),
			safe{Unsent("it", io.EOF), false},
			PartlyDone(io.EOF),
			errors.Join(says("ERROR", "23505"), io.EOF), errors.Join(ErrServerFull, io.EOF),
		},
	} {
		for _, err := range errs {
			assert.Equal(t, want, Classify(err, above), "%v", err)
		}
	}
}

func TestWhatTheServersCodesSay(t *testing.T) {
	t.Parallel()
	for code, want := range map[string][3]bool{"40001": {true}, "40P01": {true}, "25006": {1: true}, "26000": {2: true}, "0A000": {}, "23505": {}} {
		err := fmt.Errorf("more: %w", says("ERROR", code))
		assert.Equal(t, want, [3]bool{Transient(err), ReadOnly(err), StalePlan(err)}, code)
	}
	assert.True(t, StalePlan(&pgconn.PgError{Code: "0A000", Routine: "RevalidateCachedQuery"}))
	assert.True(t, DidNotRun(fmt.Errorf("more: %w", NotRun("lost", io.EOF))))
	assert.False(t, DidNotRun(Unsent("it", io.EOF)))
}

// safe says of itself whether it is safe to retry, as errors of pgx do.
type safe struct {
	error
	is bool
}

func (s safe) SafeToRetry() bool { return s.is }
func (s safe) Unwrap() error     { return s.error }

// Whatever is wrapped in whatever: what is to be done about it stays the same if
// more is said about it, and nobody is told that nothing has happened if somebody
// else who knows says that it may have.
func TestTheClassOfATreeFollowsFromItsParts(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	codes := []string{"", "0", "40001", "40003", "40P01", "55P03", "53300", "57P01", "57P03", "57014", "28P01", "3D000", "42501", "42P01", "23505", "26000", "08P01", "25006"}
	severities := []string{"ERROR", "FATAL", "PANIC", ""}
	leaves := []error{
		ErrClosed, ErrInvocationEnded, ErrNestedAcquire, ErrServerFull, ErrServerAway, pgx.ErrNoRows, pgx.ErrTxClosed, context.Canceled, context.DeadlineExceeded,
		io.EOF, net.ErrClosed, os.ErrDeadlineExceeded, pgconn.ErrConnClosed, pgconn.ErrStandbyConnection, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		&net.OpError{Op: "read", Err: syscall.ECONNRESET}, &net.DNSError{IsNotFound: true}, Config(io.EOF), errors.New("the caller's own"),
	}
	leaf := func() error {
		if r.IntN(2) == 0 {
			return &pgconn.PgError{Severity: severities[r.IntN(len(severities))], Code: codes[r.IntN(len(codes))]}
		}
		return leaves[r.IntN(len(leaves))]
	}
	var tree func(depth int) error
	tree = func(depth int) error {
		if depth == 0 {
			return leaf()
		}
		inner := tree(r.IntN(depth))
		switch r.IntN(10) {
		case 0:
			return fmt.Errorf("once: %w", inner)
		case 1:
			return errors.Join(inner, tree(r.IntN(depth)))
		case 2:
			return fmt.Errorf("%w: %w", tree(r.IntN(depth)), inner)
		case 3:
			return noConn{inner}
		case 4:
			return RolledBack(inner)
		case 5:
			return SentUnanswered(inner)
		case 6:
			return Canceled([]error{context.Canceled, context.DeadlineExceeded, ErrInvocationEnded}[r.IntN(3)], inner)
		case 7:
			return Unsent("it", inner)
		case 8:
			return NotRun("of the server", inner)
		}
		return safe{inner, r.IntN(2) == 0}
	}
	class := func(err error) Class { return Classify(err, above) }
	seen := map[Class]int{}
	for range 50_000 {
		err := tree(r.IntN(5))
		c := class(err)
		seen[c]++
		require.Equal(t, c, class(fmt.Errorf("more: %w", err)), "seed %d: %v", seed, err)
		require.Equal(t, c, class(errors.Join(err, errors.New("the caller's own"))), "seed %d: %v", seed, err)
		require.NotEqual(t, Unknown, class(noConn{err}), "seed %d: %v", seed, err)
		require.NotEqual(t, Unknown, class(RolledBack(err)), "seed %d: %v", seed, err)
		require.NotEqual(t, Retryable, class(PartlyDone(err)), "seed %d: %v", seed, err)
		require.Equal(t, GiveUp, class(closedAbove{err}), "seed %d: %v", seed, err)
		require.Equal(t, Unknown, class(errors.Join(err, SentUnanswered(err))), "seed %d: %v", seed, err)
		named := Named(err, above)
		require.Equal(t, c, class(named), "seed %d: %v", seed, err)
		require.Equal(t, pgconn.SafeToRetry(err), pgconn.SafeToRetry(named), "seed %d: %v", seed, err)
		if c == Unknown { // its text says so first
			require.True(t, strings.HasSuffix(named.Error(), strings.TrimPrefix(err.Error(), "lmipool: ")), "seed %d: %v, %v", seed, err, named)
		} else {
			require.Equal(t, err.Error(), named.Error())
		}
		require.Equal(t, class(noConn{err}), class(NoConnection(noConn{err}, above)), "seed %d: %v", seed, err)
		other := tree(r.IntN(5))
		require.Equal(t, c == Unknown || class(other) == Unknown, class(errors.Join(err, other)) == Unknown, "seed %d: %v, %v", seed, err, other)
		require.Equal(t, class(errors.Join(err, other)), class(errors.Join(other, err)), "the order says nothing")
	}
	for _, c := range []Class{None, Retryable, Misconfigured, GiveUp, Unknown} {
		assert.Greater(t, seen[c], 1000, "class %d", c)
	}
}
