package sql

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

const module = "github.com/lmipool/lmipool/compat/sql"

// differences are the tests of sqlx's that do not pass, with the reason.
var differences = map[string]string{}

// sqlx's own tests run on the driver "postgres", which is lib/pq in sqlx's module and lmipool here. Those of MySQL and SQLite are skipped.
func TestSqlxsOwnTests(t *testing.T) {
	t.Parallel()
	binary := buildSqlx(t)
	list, err := exec.CommandContext(t.Context(), binary, "-test.list", "^Test").Output()
	require.NoError(t, err)
	var passed, differ atomic.Int64
	t.Run("each", func(t *testing.T) {
		for name := range strings.FieldsSeq(string(list)) {
			if !strings.HasPrefix(name, "Test") {
				continue // what is said of the databases that are skipped
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				test := exec.CommandContext(ctx, binary, "-test.run", "^"+name+"$", "-test.v")
				test.Env = append(os.Environ(), "SQLX_POSTGRES_DSN="+pgtest.Database(t), "SQLX_MYSQL_DSN=skip", "SQLX_SQLITE_DSN=skip")
				out, err := test.CombinedOutput()
				reason, listed := differences[name]
				switch {
				case err == nil && listed:
					t.Errorf("passes, though it is in the list of differences: %s", reason)
				case err == nil:
					assert.NotContains(t, string(out), "Disabling PG")
					passed.Add(1)
				case listed:
					differ.Add(1)
				default:
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	})
	t.Logf("%d tests of sqlx's pass, %d differ", passed.Load(), differ.Load())
	assert.NotZero(t, passed.Load())
}

// buildSqlx compiles sqlx and its tests without the drivers that they import, and with lmipool as "postgres".
func buildSqlx(t *testing.T) (binary string) {
	from := moduleDir(t, "github.com/jmoiron/sqlx")
	root, err := os.Getwd()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(from, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	dir := t.TempDir()
	overlay := map[string]string{} // where a file seems to be, and where it is
	drivers := strings.NewReplacer(
		`_ "github.com/lib/pq"`, `_ "`+module+`/postgres"`,
		`_ "github.com/go-sql-driver/mysql"`, "", `_ "github.com/mattn/go-sqlite3"`, "")
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		at := filepath.Join(dir, filepath.Base(file))
		require.NoError(t, os.WriteFile(at, []byte(drivers.Replace(string(text))), 0o600))
		overlay[filepath.Join(root, "sqlx", filepath.Base(file))] = at
	}
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	require.NoError(t, err)
	list := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(list, replace, 0o600))
	binary = filepath.Join(dir, "sqlx.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, "./sqlx").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// sqlx itself works on a *sql.DB of lmipool's.
func TestSqlxOnADB(t *testing.T) {
	t.Parallel()
	db := sqlx.NewDb(open(t), "pgx")
	db.MustExec("create table people (id serial, name text)")
	_, err := db.NamedExec("insert into people (name) values (:name)", []map[string]any{{"name": "Ada"}, {"name": "Grace"}})
	require.NoError(t, err)
	var people []struct {
		ID   int
		Name string
	}
	require.NoError(t, db.Select(&people, "select * from people where name = any($1) order by id", []string{"Ada", "Grace"}))
	require.Len(t, people, 2)
	assert.Equal(t, "Grace", people[1].Name)
}
