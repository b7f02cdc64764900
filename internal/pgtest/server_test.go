package pgtest_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

func start(t *testing.T, o pgtest.Options) *pgtest.Server {
	t.Helper()
	s, err := pgtest.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// value runs a query and returns its one text.
func value(t *testing.T, conn *pgx.Conn, sql string) (s string) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&s))
	return s
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// directory asks a server where it keeps its files.
func directory(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return filepath.Dir(value(t, conn, "show data_directory"))
}

func TestTwoServersAnswerAtOnce(t *testing.T) {
	t.Parallel()
	a := connect(t, start(t, pgtest.Options{}).ConnString())
	b := connect(t, start(t, pgtest.Options{}).ConnString())
	require.Equal(t, "1", value(t, a, "select 1::text"))
	require.Equal(t, "1", value(t, b, "select 1::text"))
	id := "select system_identifier::text from pg_control_system()"
	require.NotEqual(t, value(t, a, id), value(t, b, id))
}

func TestSettingsWinAndLogIsCopied(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	s := start(t, pgtest.Options{
		Settings: map[string]string{"max_connections": "7", "application_name": "it's = me", "log_statement": "all"},
		Log:      &log,
	})
	conn := connect(t, s.ConnString())
	require.Equal(t, "7", value(t, conn, "show max_connections"))
	require.Equal(t, "it's = me", value(t, conn, "show application_name"))
	require.Equal(t, "off", value(t, conn, "show fsync"))
	value(t, conn, "select 'find me in the log'")
	s.Stop()
	require.Contains(t, log.String(), "find me in the log")
}

func TestStopEndsTheServerAndRemovesItsFiles(t *testing.T) {
	t.Parallel()
	s := start(t, pgtest.Options{})
	conn := connect(t, s.ConnString())
	dir := directory(t, conn)
	require.DirExists(t, dir)
	require.True(t, alive(s.Pid()))

	s.Stop()
	s.Stop()
	require.NoDirExists(t, dir)
	require.False(t, alive(s.Pid()))
	require.Error(t, conn.Ping(t.Context()), "an open connection ends with the server")
}

func TestStopAfterTheServerDied(t *testing.T) {
	t.Parallel()
	s := start(t, pgtest.Options{})
	dir := directory(t, connect(t, s.ConnString()))
	require.NoError(t, syscall.Kill(s.Pid(), syscall.SIGQUIT)) // SIGKILL would leak its shared memory
	s.Stop()
	require.NoDirExists(t, dir)
}

func TestABadSettingIsNamed(t *testing.T) {
	t.Parallel()
	_, err := pgtest.Start(t.Context(), pgtest.Options{Settings: map[string]string{"no_such_thing": "1"}})
	require.ErrorContains(t, err, "no_such_thing")
}

func TestAnUnknownVersionIsNamed(t *testing.T) {
	t.Parallel()
	_, err := pgtest.Start(t.Context(), pgtest.Options{Version: "9"})
	require.ErrorContains(t, err, `"9"`)
	require.ErrorContains(t, err, `"18"`)
}

func TestACancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	// These are the first words of initdb and of postgres. The caller gives up at one of these two points.
	for _, sign := range []string{"creating directory", "listening on"} {
		ctx, cancel := context.WithCancel(t.Context())
		log := &cancelOn{sign: sign, cancel: cancel}
		s, err := pgtest.Start(ctx, pgtest.Options{Log: log})
		require.ErrorIs(t, err, context.Canceled, "after %q", sign)
		require.Nil(t, s)
		dir := regexp.MustCompile(`/tmp/lmipool-pg-\d+-\d+`).FindString(log.text)
		require.NotEmpty(t, dir, "initdb says where")
		require.NoDirExists(t, dir, "after %q", sign)
	}
}

// cancelOn keeps a log, and cancels when it sees sign in it.
type cancelOn struct {
	sign   string
	cancel func()
	text   string
}

func (c *cancelOn) Write(p []byte) (int, error) {
	c.text += string(p)
	if strings.Contains(c.text, c.sign) {
		c.cancel()
	}
	return len(p), nil
}

type syncBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}
