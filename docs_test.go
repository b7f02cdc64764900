package lmipool_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
)

// importsOfDocs are the packages that snippets of the documents may use.
var importsOfDocs = []string{
	"context", "errors", "fmt", "log", "log/slog", "net/http", "time",
	"github.com/aws/aws-lambda-go/lambda",
	"github.com/aws/aws-sdk-go-v2/aws",
	"github.com/jackc/pgx/v5", "github.com/jackc/pgx/v5/pgxpool",
	"github.com/lmipool/lmipool", "github.com/lmipool/lmipool/emf", "github.com/lmipool/lmipool/iam", "github.com/lmipool/lmipool/lmitest", "github.com/lmipool/lmipool/pool",
	"github.com/lmipool/lmipool/stdlib",
}

// givenInDocs are the names that a snippet may use without declaring them.
const givenInDocs = `
var (
	ctx      context.Context
	cfg      aws.Config // of the AWS SDK
	rdsRoots []byte
)

func tenantOf(context.Context) string { return "" }
`

// Each snippet of Go in README.md and docs compiles: a program, declarations, or statements.
func TestSnippetsOfTheDocumentsCompile(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	overlay := map[string]string{} // where a file seems to be, and where it is
	root, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	var packages []string
	for _, file := range append(files, "README.md") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for i, code := range snippets(string(text)) {
			name := fmt.Sprintf("snippet_%s_%d", strings.TrimSuffix(filepath.Base(file), ".md"), i)
			at := filepath.Join(dir, name+".go")
			require.NoError(t, os.WriteFile(at, []byte(program(t, code)), 0o600))
			overlay[filepath.Join(root, name, "main.go")] = at
			packages = append(packages, "./"+name)
		}
	}
	require.NotEmpty(t, packages)
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	require.NoError(t, err)
	list := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(list, replace, 0o600))
	out, err := exec.CommandContext(t.Context(), "go", slices.Concat([]string{"build", "-overlay", list}, packages)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// Each link of the documents to a file, or to a heading in one, leads there.
func TestLinksOfTheDocsLeadSomewhere(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	top, err := filepath.Glob("*.md")
	require.NoError(t, err)
	require.NotEmpty(t, top)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, file := range append(files, top...) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			path, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, ":") {
				continue // on another machine
			}
			to := file
			if path != "" {
				to = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(to); !assert.NoError(t, err, "%s: %s", file, m[1]) || heading == "" {
				continue
			}
			there, err := os.ReadFile(to)
			require.NoError(t, err)
			assert.Contains(t, headings(string(there)), heading, "%s: %s", file, m[1])
		}
	}
}

// headings returns the headings of a document as links name them.
func headings(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if name := strings.TrimLeft(line, "#"); name != line {
			all = append(all, strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
					return unicode.ToLower(r)
				}
				return -1
			}, strings.TrimSpace(name)))
		}
	}
	return all
}

// The table of the configuration has each variable once, with its field and a default.
func TestTheTableOfTheConfigurationHasAllVariables(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "\n## Configuration\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	_, variables := lmipool.Settings()
	rows := map[string]int{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for field, variable := range variables {
			if strings.Contains(cells[1], "`"+variable+"`") {
				rows[variable]++
				assert.Contains(t, cells[2], "`"+field+"`")
				assert.NotEmpty(t, strings.TrimSpace(cells[3]), field)
			}
		}
	}
	for field, variable := range variables {
		assert.Equal(t, 1, rows[variable], "%s of %s", variable, field)
	}
	for variable := range strings.FieldsFuncSeq(table, func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') }) {
		if strings.HasPrefix(variable, "LMIPOOL_") && variable != "LMIPOOL_" {
			assert.Contains(t, slices.Collect(maps.Values(variables)), variable, "there is none of this name")
		}
	}
}

// snippets are the blocks of Go in text.
func snippets(text string) []string {
	var all []string
	for {
		_, rest, found := strings.Cut(text, "```go\n")
		if !found {
			return all
		}
		code, after, _ := strings.Cut(rest, "```")
		all, text = append(all, code), after
	}
}

// program is code as a package of its own.
func program(t *testing.T, code string) string {
	if program, ok := strings.CutPrefix(code, "package main\n"); ok {
		return "package snippet\n" + program // what is no program is compiled and not linked, which takes seconds
	}
	parse := func(text string) (*ast.File, error) {
		return parser.ParseFile(token.NewFileSet(), "snippet.go", text, parser.SkipObjectResolution)
	}
	body := code
	if _, err := parse("package main\n" + code); err != nil {
		body = "func snippet() {\n" + code + "\n_, _ = db, err }\n"
	}
	f, err := parse("package main\n" + body)
	require.NoError(t, err, "%s", code)
	uses := map[string]bool{"context": true, "aws": true} // givenInDocs does
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				uses[x.Name] = true
			}
		}
		return true
	})
	var b strings.Builder
	b.WriteString("package snippet\n")
	for _, path := range importsOfDocs {
		name := strings.TrimSuffix(path, "/v5")
		if uses[name[strings.LastIndex(name, "/")+1:]] {
			fmt.Fprintf(&b, "import %q\n", path)
		}
	}
	return b.String() + givenInDocs + body
}
