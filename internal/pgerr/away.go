package pgerr

import (
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

// IsLost reports whether err says that a connection ended, or was ended by the server, while it was in use. A connection that the pool closes itself,
// for example when a ctx ends, is not lost.
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
