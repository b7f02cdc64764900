package lmipool_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheTableOfLogLinesIsWhole holds docs/logs.md against the source: every message that the library logs has a row with its level and attributes, and
// every row is of a message that is logged.
func TestTheTableOfLogLinesIsWhole(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/logs.md")
	require.NoError(t, err)
	var rows []string
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(strings.TrimSpace(line), " | "); len(cells) == 4 && !strings.HasPrefix(line, "| Level") {
			rows = append(rows, strings.Join(cells[:3], " | ")+" |")
			assert.Greater(t, len(cells[3]), 20, "what to do: %s", line)
		}
	}
	lines := logLines(t)
	assert.Greater(t, len(lines), 30)
	for _, line := range lines {
		assert.True(t, slices.Contains(rows, line), "docs/logs.md needs this row, and what to do about it:\n%s", line)
	}
	for _, row := range rows {
		assert.True(t, slices.Contains(lines, row), "docs/logs.md has a row that nothing logs:\n%s", row)
	}
	assert.Equal(t, slices.Compact(slices.Clone(rows)), rows, "no row twice")
}

// logWrappers are the functions that log what they are given: which argument is the message, and what they add in front of it, behind it, and to the
// attributes. The arguments behind the message, except the first skip of them, are attributes.
var logWrappers = map[string]struct {
	message, skip int
	before, after string
	level, adds   string
}{
	"Info":          {level: "info"},
	"Warn":          {level: "warn"},
	"Error":         {level: "error"},
	"warnAt":        {message: 2, level: "warn", adds: "count places"},
	"warnUsage":     {level: "warn", skip: 2, adds: "count places requestId lasted_ms statements rides rows waited_ms ran_ms idle_in_tx_ms longest_ms longest_text repeated repeated_at repeated_text"},
	"logAt":         {message: 2, adds: "count places"}, // the level is the first argument
	"warnOnce":      {message: 1, level: "warn"},
	"sayWhy":        {level: "error", before: "lmipool: standing down: ", after: "; what runs is finished, then the process ends and Lambda replaces the environment"},
	"closesBecause": {skip: 1, level: "warn", before: "lmipool: ", after: ", so a connection whose session a user has changed is closed instead of reset; …"},
}

// logLines are the rows that the library's source asks for: level, message and attributes.
func logLines(t *testing.T) (rows []string) {
	inner, err := filepath.Glob("internal/*")
	require.NoError(t, err)
	dirs, err := filepath.Glob("*")
	require.NoError(t, err)
	dirs = append(slices.DeleteFunc(dirs, func(dir string) bool {
		return slices.Contains([]string{"benchmarks", "cmd", "compat", "examples", "internal", "lmitest", "otel", "tools"}, dir) // programs, and modules of their own
	}), inner...)
	for _, dir := range append(dirs, ".") {
		files, err := filepath.Glob(dir + "/*.go")
		require.NoError(t, err)
		constants := map[string]ast.Expr{}
		var parsed []*ast.File
		fset := token.NewFileSet()
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, file, nil, 0)
			require.NoError(t, err)
			parsed = append(parsed, f)
			ast.Inspect(f, func(n ast.Node) bool {
				if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == len(v.Names) {
					for i, name := range v.Names {
						constants[name.Name] = v.Values[i]
					}
				}
				return true
			})
		}
		for _, f := range parsed {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || logWrappers[fn.Name.Name].level+logWrappers[fn.Name.Name].adds != "" { // its callers have the messages
					continue
				}
				ast.Inspect(fn, func(n ast.Node) bool {
					if call, ok := n.(*ast.CallExpr); ok {
						if row := logRow(call, constants); row != "" && !slices.Contains(rows, row) {
							rows = append(rows, row)
						}
					}
					if u, ok := n.(*ast.SelectorExpr); ok {
						assert.NotEqual(t, "slog.Duration", exprText(u), "%v: JSON shows a Duration as nanoseconds: use safelog.Ms", fset.Position(u.Pos()))
					}
					return true
				})
			}
		}
	}
	return rows
}

var loggers = regexp.MustCompile(`(?i)(^|\.)log(ger)?$|^safelog\.Guard$`)

// logRow is the row for call, or "" if it logs nothing.
func logRow(call *ast.CallExpr, constants map[string]ast.Expr) string {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	w, ok := logWrappers[s.Sel.Name]
	if !ok || len(call.Args) <= w.message || w.adds == "" && strings.Contains("Info Warn Error", s.Sel.Name) && !loggers.MatchString(exprText(s.X)) {
		return ""
	}
	level := w.level
	if level == "" {
		level = strings.ToLower(strings.TrimPrefix(exprText(call.Args[0]), "slog.Level"))
	}
	message := w.before + messageText(call.Args[w.message], constants) + w.after
	keys := map[string]bool{}
	addKeys(keys, call.Args[w.message+1+w.skip:])
	for key := range strings.FieldsSeq(w.adds) {
		keys[key] = true
	}
	attributes := "–"
	if len(keys) > 0 {
		attributes = "`" + strings.Join(slices.Sorted(maps.Keys(keys)), "` `") + "`"
	}
	return fmt.Sprintf("| %s | %s | %s |", level, strings.TrimPrefix(message, "lmipool: "), attributes)
}

// exprText is a selector expression as the source has it.
func exprText(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return exprText(x.X) + "." + x.Sel.Name
	case *ast.CallExpr:
		return exprText(x.Fun)
	}
	return ""
}

// messageText is the text of e, with … for what the source does not have literally.
func messageText(e ast.Expr, constants map[string]ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(x.Value)
		return s
	case *ast.BinaryExpr:
		return messageText(x.X, constants) + messageText(x.Y, constants)
	case *ast.Ident:
		if c := constants[x.Name]; c != nil && strings.HasPrefix(messageText(c, nil), "lmipool: ") {
			return messageText(c, nil)
		}
	}
	return "…"
}

// addKeys adds the names of the attributes that args make.
func addKeys(keys map[string]bool, args []ast.Expr) {
	for i := 0; i < len(args); i++ {
		switch x := args[i].(type) {
		case *ast.BasicLit: // a name, and then its value
			s, _ := strconv.Unquote(x.Value)
			keys[s] = true
			i++
		case *ast.CompositeLit:
			addKeys(keys, x.Elts)
		case *ast.CallExpr:
			name := exprText(x.Fun)
			first := ""
			if len(x.Args) > 0 {
				first = messageText(x.Args[0], nil)
			}
			switch {
			case strings.HasSuffix(name, ".attrs"):
				for _, key := range []string{"requestId", "held_ms", "doing", "acquired_at"} {
					keys[key] = true
				}
			case name == "append":
				addKeys(keys, x.Args)
			case name == "safelog.Request":
				keys["requestId"] = true
			case name == "safelog.Ms":
				keys[first+"_ms"] = true
			case strings.HasPrefix(name, "slog."):
				keys[first] = true
			}
		case *ast.Ident:
			switch x.Name {
			case "failed": // an attribute that is empty if there is no error
				keys["error"] = true
			case "ran":
				keys["ran_ms"] = true
			case "id":
				keys["requestId"] = true
			case "used":
				keys["used_at"] = true
			case "doing", "behind":
				keys[x.Name] = true
			case "connections":
				keys[x.Name] = true
			case "count": // a Tally's
				keys["count"], keys["places"] = true, true
			}
		}
	}
}
