package sql

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
	"github.com/lmipool/lmipool/stdlib"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// open returns a *sql.DB on a pool of two connections, with a database of its own. At the test's end no connection may be in use.
func open(t *testing.T) *sql.DB {
	t.Helper()
	p, err := pool.New(context.Background(), pgtest.Database(t), &pool.Config{MaxConns: 2})
	require.NoError(t, err)
	db := stdlib.OpenDB(p)
	t.Cleanup(func() {
		_ = db.Close()
		assert.Eventually(t, func() bool { return p.Stat().AcquiredConns() == 0 }, 20*time.Second, time.Millisecond, "a connection is in use")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Shutdown(ctx)
	})
	return db
}

// moduleDir returns where the module's files are.
func moduleDir(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}
