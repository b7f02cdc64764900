package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrServerAway is in the error of a caller who got no connection because no server answers,
// or only a standby where the pool writes: it restarts, or another takes over. As long as
// there is time no caller hears of it: who waits goes on waiting, and the pool dials again,
// several times a second and with what the name stands for by then. A pool that has never
// had a connection says at once that its server does not answer, since it may be the wrong one.
// The error that wraps it has the last dial's.
var ErrServerAway = errors.New("lmipool: no server answers that the pool can use")

// gone are the system's words for a server, or a way to it, that is not there.
var gone = []error{
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT,
	syscall.EHOSTUNREACH, syscall.EHOSTDOWN, syscall.ENETUNREACH, syscall.ENETDOWN,
}

// isAway reports whether a dial failed with err because of a server that does not answer, or
// not yet, or is no writer. Of several hosts all must be so: who refuses the password of one of
// them has something to say. always: there is a server, and it says that it is not ready, or accepts
// connections and has said nothing so far.
func isAway(err error) (away, always bool) {
	switch x := err.(type) { //nolint:errorlint // it walks the tree itself: each host that was tried has its own
	case nil, *hookError:
		return false, false
	case *silentError:
		away, _ = isAway(x.err)
		return away, away
	case *pgconn.PgError:
		return stops(x) || poolerLost(x), x.Code == "57P03"
	case *net.DNSError, syscall.Errno:
		_, dns := err.(*net.DNSError) //nolint:errorlint // as above
		return dns || slices.Contains(gone, err), false
	case interface{ Unwrap() []error }:
		away = len(x.Unwrap()) > 0
		for _, e := range x.Unwrap() {
			one, ready := isAway(e)
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
	case errStandby, errReadOnlyServer, pgconn.ErrStandbyConnection, pgconn.ErrReadOnlyConnection:
		return true, true
	}
	return isAway(errors.Unwrap(err))
}

// isLost reports whether err is of a connection that ended, or was ended by the server, while
// it was in use. What we end ourselves, when a ctx ends say, is not lost.
func isLost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return stops(pg) || ends(pg) && poolerLost(pg)
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		slices.ContainsFunc(gone, func(e error) bool { return errors.Is(err, e) })
}

// stops reports whether the server says that it, or this session, ends, or that it is not ready yet.
func stops(e *pgconn.PgError) bool {
	return e.Code == "57P01" || e.Code == "57P02" || e.Code == "57P03"
}

// poolerLost reports whether a pooler says that the server behind it is gone. PgBouncer has the
// code 08P01 for all that it says itself.
func poolerLost(e *pgconn.PgError) bool {
	if e.Code == "08P01" {
		return poolerWords.MatchString(e.Message) && !strings.Contains(e.Message, "authentication")
	}
	return strings.HasPrefix(e.Code, "08")
}

var poolerWords = regexp.MustCompile(`server_login|connect failed|server conn|shutting down|starting up`)

// hookError is what a user's BeforeConnect returned: whatever it says is gone, it is not the server.
type hookError struct{ error }

func (e *hookError) Unwrap() error { return e.error }
