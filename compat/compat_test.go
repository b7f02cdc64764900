package compat

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

const own = "github.com/lmipool/lmipool/compat/"

func TestPgxpoolsOwnTests(t *testing.T) { runs(t, "pgxpool", differences) }

func TestPgxStdlibsOwnTests(t *testing.T) { runs(t, "stdlib", differencesOfStdlib) }

// runs runs the tests of one of pgx's packages. Each passes, or is in differences, or in racy.
func runs(t *testing.T, of string, differences map[string]string) {
	t.Parallel()
	binary := build(t, of)
	dsn := pgtest.Database(t)
	var mu sync.Mutex
	var passed, differ []string
	seen := map[string]bool{}
	t.Run("each", func(t *testing.T) {
		for name := range strings.FieldsSeq(output(t, exec.CommandContext(t.Context(), binary, "-test.list", "^Test"))) {
			seen[name] = true
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				reason, listed := differences[name]
				bound := 2 * time.Minute
				if listed { // what it waits for does not come
					bound = 15 * time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), bound)
				defer cancel()
				test := exec.CommandContext(ctx, binary, "-test.run", "^"+name+"$", "-test.v")
				test.Env = append(os.Environ(), "PGX_TEST_DATABASE="+dsn)
				out, err := test.CombinedOutput()
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && listed:
					t.Errorf("passes, though it is in the list of differences: %s", reason)
				case err == nil:
					passed = append(passed, name)
				case listed:
					differ = append(differ, name)
				case racy[name] != "":
					t.Logf("not passed, by who was quicker: %s", racy[name])
				default:
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	})
	for name := range differences {
		if !seen[name] && !slices.Contains(onlyIn512, name) {
			t.Errorf("%s is in the list of differences, and %s has no such test", name, of)
		}
	}
	t.Logf("%d tests of %s pass, %d differ on purpose", len(passed), of, len(differ))
	slices.Sort(differ)
	for _, name := range differ {
		t.Logf("%s: %s", name, differences[name])
	}
}

// build compiles the tests of pgx's package of with our package of that name in place of pgx's.
func build(t *testing.T, of string) (binary string) {
	pgx := strings.TrimSpace(output(t, exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/jackc/pgx/v5")))
	root, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	overlay := map[string]string{} // where a file seems to be, and where it is
	tests, err := filepath.Glob(filepath.Join(pgx, of, "*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, tests)
	ours := strings.NewReplacer(
		`"github.com/jackc/pgx/v5/`+of+`"`, `"`+own+of+`"`,
		`"github.com/jackc/pgx/v5/internal/pgmock"`, `"`+own+`pgmock"`)
	for _, file := range tests {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		at := filepath.Join(dir, filepath.Base(file))
		require.NoError(t, os.WriteFile(at, []byte(ours.Replace(string(text))), 0o600))
		overlay[filepath.Join(root, of, filepath.Base(file))] = at
	}
	mock, err := filepath.Glob(filepath.Join(pgx, "internal", "pgmock", "*.go"))
	require.NoError(t, err)
	for _, file := range mock {
		if !strings.HasSuffix(file, "_test.go") {
			overlay[filepath.Join(root, "pgmock", filepath.Base(file))] = file
		}
	}
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	require.NoError(t, err)
	list := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(list, replace, 0o600))
	binary = filepath.Join(dir, of+".test")
	output(t, exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, "./"+of))
	return binary
}

func output(t *testing.T, c *exec.Cmd) string {
	var errors strings.Builder
	c.Stderr = &errors
	out, err := c.Output()
	require.NoError(t, err, "%s\n%s%s", c, out, &errors)
	return string(out)
}
