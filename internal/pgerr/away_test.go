package pgerr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

func TestWhatIsSaidOfAServerThatIsAway(t *testing.T) {
	t.Parallel()
	pg := func(code, text string) error {
		return fmt.Errorf("failed to connect: %w", &pgconn.PgError{Severity: "FATAL", Code: code, Message: text})
	}
	system := func(e error) error {
		return fmt.Errorf("dial error: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", e)})
	}
	refused, password := system(syscall.ECONNREFUSED), pg("28P01", "password authentication failed")
	for _, c := range []struct {
		err                error
		away, always, lost bool
	}{
		{err: nil},
		{err: errors.New("no")},
		{err: context.Canceled},
		{err: refused, away: true, lost: true},
		{err: system(syscall.ECONNRESET), away: true, lost: true},
		{err: system(syscall.ETIMEDOUT), away: true, lost: true},
		{err: system(syscall.EMFILE)},
		{err: &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, away: true},
		{err: fmt.Errorf("timeout: %w", context.DeadlineExceeded), away: true},
		{err: fmt.Errorf("hostname resolving error: %w", errors.Join(&net.DNSError{Err: "no such host", IsNotFound: true})), away: true},
		{err: fmt.Errorf("tls error: %w", io.EOF), away: true, lost: true},
		{err: fmt.Errorf("failed to receive message: %w", io.ErrUnexpectedEOF), away: true, lost: true},
		{err: pg("57P01", "terminating"), away: true, lost: true},
		{err: pg("57P03", "starting up"), away: true, always: true, lost: true},
		{err: pg("57P05", "idle session")},
		{err: pg("08P01", "server_login_has_been_failing"), away: true, lost: true},
		{err: pg("08P01", "server login failed: FATAL password authentication failed")},
		{err: pg("08P01", "unsupported startup parameter: x")},
		{err: pg("08006", "connection_failure"), away: true, lost: true},
		{err: pg("3D000", "no such database")},
		{err: password},
		{err: fmt.Errorf("ValidateConnect failed: %w", pgconn.ErrReadOnlyConnection), away: true, always: true},
		{err: fmt.Errorf("127.0.0.1:1: %w", ErrStandby), away: true, always: true},
		{err: errors.Join(refused, refused), away: true, lost: true},
		{err: errors.Join(refused, pgconn.ErrStandbyConnection), away: true, always: true, lost: true},
		{err: errors.Join(refused, password)},
		{err: OfHook(refused), lost: true},
		{err: fmt.Errorf("%w (%s)", refused, "advice"), away: true, lost: true},
	} {
		away, always := IsAway(c.err)
		assert.Equal(t, c.away, away, "%v", c.err)
		assert.Equal(t, c.always, always, "%v", c.err)
		if _, joined := c.err.(interface{ Unwrap() []error }); !joined {
			assert.Equal(t, c.lost, IsLost(c.err), "%v", c.err)
		}
	}
}

func TestWhatAFullServerSays(t *testing.T) {
	t.Parallel()
	pg := func(code, text string) error {
		return fmt.Errorf("failed to connect: %w", &pgconn.PgError{Code: code, Message: text})
	}
	other := pg("28P01", "password authentication failed")
	for text, full := range map[error]bool{
		nil:                                 false,
		errors.New("connection refused"):    false,
		pg("53300", "sorry"):                true,
		errors.Join(other, pg("53300", "")): true, // one of several hosts
		fmt.Errorf("%w, %w", other, other):  false,
		pg("08P01", "no more connections allowed (max_client_conn)"):             true,
		pg("08P01", "client connections exceeded (max_user_client_connections)"): true,
		pg("08P01", "too many connections for role \"r\""):                       true,
		pg("08P01", "unsupported startup parameter: x"):                          false,
		pg("57P03", "the database system is starting up"):                        false,
	} {
		assert.Equal(t, full, IsFull(text), "%v", text)
	}
}
