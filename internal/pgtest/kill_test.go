package pgtest_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

func TestAKilledProcessLeavesNoServer(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("no parent-death signal here")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asVictim+"=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	addr, dsn, ok := strings.Cut(strings.TrimSpace(line), " ")
	require.True(t, ok, line)
	conn := connect(t, dsn)
	dir := directory(t, conn)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	// The test looks at the backends and the port. The postmaster's pid would not do, since an orphan's zombie stays until someone reaps it.
	end, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = conn.WaitForNotification(end)
	require.Error(t, err)
	require.NoError(t, end.Err(), "the backend still runs")
	require.Eventually(t, func() bool { return refuses(addr) }, 10*time.Second, 10*time.Millisecond)

	// The files of the server that was killed stay until the next start.
	start(t, pgtest.Options{})
	require.NoDirExists(t, dir)
}

func refuses(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		conn.Close()
	}
	return err != nil
}
