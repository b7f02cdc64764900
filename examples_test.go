package lmipool_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mostUsed are the identifiers that a user meets first, by the directory of their package. Godoc shows no example for a method that another package
// has, so those of a pool are in package pool.
var mostUsed = map[string]string{
	".":      "Open OpenConfig Config Handler HTTPHandler Wrap Start Pool.With DB InTx Alone Detach Misconfigured Retryable OutcomeUnknown",
	"stdlib": "OpenDB",
	"pool":   "Pool.Acquire Pool.QueryRow Pool.Query Pool.Exec Pool.SendBatch Pool.CopyFrom Pool.Stat Bound.Acquire",
}

func TestTheMostUsedHaveAnExample(t *testing.T) {
	t.Parallel()
	for dir, names := range mostUsed {
		fset := token.NewFileSet()
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		var files []*ast.File
		for _, path := range paths {
			f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
			require.NoError(t, err)
			files = append(files, f)
		}
		p, err := doc.NewFromFiles(fset, files, "github.com/lmipool/lmipool/"+dir)
		require.NoError(t, err)
		has := map[string]int{}
		funcs := func(of string, all []*doc.Func) {
			for _, f := range all {
				has[of+f.Name] = len(f.Examples)
			}
		}
		funcs("", p.Funcs)
		for _, typ := range p.Types {
			has[typ.Name] = len(typ.Examples)
			funcs("", typ.Funcs)
			funcs(typ.Name+".", typ.Methods)
		}
		for name := range strings.FieldsSeq(names) {
			n, exists := has[name]
			assert.True(t, exists, "%s: there is no %s", dir, name)
			assert.NotZero(t, n, "%s: %s has no example", dir, name)
		}
	}
}

// What a user copies must compile in his own module.
func TestExamplesToCopyImportNothingInternal(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"examples/*/*.go", "examples/libraries/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, paths)
		for _, path := range paths {
			if strings.HasPrefix(path, "examples/demo/") {
				continue // it is measured, and not copied
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			require.NoError(t, err)
			for _, i := range f.Imports {
				assert.NotContains(t, i.Path.Value, "/internal/", path)
			}
		}
	}
}
