package pool_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/child"
)

// bouncer starts a PgBouncer in transaction mode before the server of dsn, with further
// options, and returns the connection string through it. scripts/install-pgbouncer gets it.
func bouncer(t testing.TB, dsn string, options ...string) string {
	t.Helper()
	var path string
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} { // Debian puts it where only root's PATH leads
		if p, err := osexec.LookPath(name); err == nil {
			path = p
		}
	}
	if path == "" {
		t.Skip("no pgbouncer here: scripts/install-pgbouncer gets it")
	}
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	// Not t.TempDir: where we are root PgBouncer runs as nobody, and must be able to enter.
	dir, err := os.MkdirTemp("/tmp", "lmipool-bouncer-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ini := filepath.Join(dir, "pgbouncer.ini")
	for try := 0; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := l.Addr().String()
		require.NoError(t, l.Close())
		_, port, _ := net.SplitHostPort(addr)
		text := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s user=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\n"+
			"unix_socket_dir =\nauth_type = any\npool_mode = transaction\n%s\n", u.Port(), u.User.Username(), port, strings.Join(options, "\n"))
		require.NoError(t, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(ini, []byte(text), 0o644)))
		log := &child.Tail{}
		proc, err := child.Start(child.Command(path, "/", log, syscall.SIGKILL, ini))
		require.NoError(t, err)
		if listens(proc, addr) {
			t.Cleanup(func() { proc.End(syscall.SIGKILL) })
			u.Host = addr
			return u.String()
		}
		proc.End(syscall.SIGKILL)
		require.Less(t, try, 3, "%s", log) // between our finding a port free and PgBouncer's taking it, another process may
	}
}

// listens waits until proc listens at addr, or has ended.
func listens(proc *child.Process, addr string) bool {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		select {
		case <-proc.Exited():
			return false
		default:
		}
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			c.Close()
			return true
		}
	}
	return false
}
