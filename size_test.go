package lmipool_test

import (
	"bytes"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	_ "github.com/lmipool/lmipool/stdlib" // for TestAStartInitializesLittle: a package that root does not import
)

// mostLines is how long a file of the library may be.
const mostLines = 400

// longFiles are longer, still. No file joins them.
var longFiles = []string{}

// TestNoFileIsLong counts the lines of the library's files, but for its tests.
func TestNoFileIsLong(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "./...").Output()
	require.NoError(t, err)
	root, err := os.Getwd()
	require.NoError(t, err)
	counted, known := 0, slices.Clone(longFiles)
	for dir := range strings.Lines(string(out)) {
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(dir), "*.go"))
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			counted++
			name, err := filepath.Rel(root, file)
			require.NoError(t, err)
			lines := bytes.Count(text, []byte("\n"))
			if i := slices.Index(known, filepath.ToSlash(name)); i >= 0 {
				known = slices.Delete(known, i, i+1)
				assert.Greater(t, lines, mostLines, "%s is no exception any more: take it from the list", name)
			} else {
				assert.LessOrEqual(t, lines, mostLines, "%s is too long: find the second idea in it", name)
			}
		}
	}
	assert.Empty(t, known, "there is no such file: take it from the list")
	assert.Greater(t, counted, 100, "files that were found")
}

// TestAStartInitializesLittle counts what the library's packages allocate before main. Each cold start does that, for tables and regular expressions that
// most processes never use: see package pattern. It was 1900 allocations, a third of what all packages took.
func TestAStartInitializesLittle(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run", "^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	packages, all := 0, 0
	for line := range strings.Lines(string(out)) { // init net @1.2 ms, 0.03 ms clock, 123 bytes, 4 allocs
		f := strings.Fields(line)
		if len(f) < 11 || f[0] != "init" || !strings.HasPrefix(f[1], module) || strings.HasSuffix(f[1], "_test") {
			continue
		}
		n, err := strconv.Atoi(f[9])
		require.NoError(t, err, line)
		packages++
		all += n
		assert.LessOrEqual(t, n, 40, "%s allocates too much before main: use constants, a sorted list, sync.OnceValue or package pattern", f[1])
	}
	assert.Greater(t, packages, 5, "packages that were found")
	assert.LessOrEqual(t, all, 150, "allocations of all packages before main")
}

// TestEveryPatternCompiles finds the wrong expression of a pattern.Lazy, which no start of a process would find.
func TestEveryPatternCompiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("internal/*/*.go")
	require.NoError(t, err)
	found := 0
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			l, ok := n.(*ast.CompositeLit)
			if !ok || len(l.Elts) != 1 {
				return true
			}
			if is, ok := l.Type.(*ast.SelectorExpr); !ok || is.Sel.Name != "Lazy" {
				return true
			}
			v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, types.ExprString(l.Elts[0].(*ast.KeyValueExpr).Value))
			if assert.NoError(t, err, "%s: Text must be a constant", file) {
				_, err = regexp.Compile(constant.StringVal(v.Value))
				assert.NoError(t, err, file)
				found++
			}
			return true
		})
	}
	assert.Greater(t, found, 15, "expressions that were found")
}

// TestTheHandlersBinaryIsNotMuchLarger compares the binary of a handler on lmipool with that of one on pgxpool, built as for Lambda.
func TestTheHandlersBinaryIsNotMuchLarger(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds two binaries")
	}
	size := func(name string) float64 {
		binary := filepath.Join(t.TempDir(), name)
		cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./start/"+name)
		cmd.Dir = "benchmarks"
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		info, err := os.Stat(binary)
		require.NoError(t, err)
		return float64(info.Size())
	}
	// 1.13 is wanted, and missed: it was 1.18 without observers and a fleet's share, and is 1.22 with them. The library's own code and tables alone are
	// 1.13, and slog, regexp and more of pgx are the rest.
	const most = 1.25
	assert.Less(t, size("lmipool")/size("pgxpool"), most,
		"If it has grown by 0.15, somebody calls reflect's Method, or MethodByName with a variable: then the linker keeps all exported methods of all types.")
}
