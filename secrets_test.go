package lmipool_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNoSecretIsShown has every public value there is shown in every way there is, after a
// life in which every secret played its part, and looks for the secrets; in the logs
// of that life too. What is exported and not among the values fails.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	life := liveThrough(t)
	covered := map[string]bool{}
	for name, v := range life.values {
		require.NotNil(t, v, name)
		cover(covered, reflect.TypeOf(v))
		life.look(t, name, v)
	}
	life.leaks(t, "the logs", "", life.log.text())
	assert.Greater(t, life.log.lines, 20, "it was a rich life")
	for pkg, dir := range map[string]string{
		"github.com/lmipool/lmipool": ".", "github.com/lmipool/lmipool/pool": "pool", "github.com/lmipool/lmipool/iam": "iam",
		"github.com/lmipool/lmipool/lmitest": "lmitest", "github.com/lmipool/lmipool/lambdaenv": "lambdaenv",
	} {
		for _, name := range exportedTypes(t, dir) {
			assert.True(t, covered[pkg+"."+name], "%s.%s is new, and nobody knows what it shows: have a value of it in liveThrough", pkg, name)
		}
	}
}

// TestALeakIsSeen: what the test above rests on.
func TestALeakIsSeen(t *testing.T) {
	t.Parallel()
	type inner struct{ Password string }
	type outer struct{ in inner }
	l := life{secrets: map[string]string{"the password": "hunter2"}}
	for _, v := range []any{
		"hunter2", []byte("hunter2"),
		outer{inner{"hunter2"}},
		&outer{inner{"hunter2"}},
		map[string]any{"x": []string{"hunter2"}},
		&inner{"hunter2"},
		fmt.Errorf("no hunter2"), fmt.Errorf("said %w", &quiet{"hunter2"}),
	} {
		found := 0
		for _, shown := range show(v) {
			found += len(l.found(shown))
		}
		assert.NotZero(t, found, "%#v", v)
	}
	assert.Empty(t, l.found("hunter3"))
}

// quiet is an error that has a secret in a field only.
type quiet struct{ Secret string }

func (*quiet) Error() string { return "nothing" }

// life is what there is to look at.
type life struct {
	secrets map[string]string // by what they are
	values  map[string]any
	log     *everything
}

// look looks at v, and says once what it shows.
func (l *life) look(t *testing.T, name string, v any) {
	t.Helper()
	for way, shown := range show(v) {
		if l.leaks(t, name, way, shown) {
			return
		}
	}
}

func (l *life) leaks(t *testing.T, name, way, shown string) bool {
	t.Helper()
	found := l.found(shown)
	for _, what := range found {
		at := max(0, strings.Index(shown, l.secrets[what])-200)
		t.Errorf("%s by %s shows %s: …%.500s", name, way, what, shown[at:])
	}
	return len(found) > 0
}

// found is which secrets are in shown, as they are or as bytes.
func (l *life) found(shown string) (what []string) {
	for name, secret := range l.secrets {
		b := []byte(secret)
		goBytes := strings.Trim(fmt.Sprintf("%#v", b), "[]byte{}")
		for _, form := range []string{
			secret, hex.EncodeToString(b), fmt.Sprintf("%X", secret), strings.Trim(fmt.Sprintf("%d", b), "[]"), goBytes,
			base64.StdEncoding.EncodeToString(b)[:len(b)/3*4],
		} {
			if strings.Contains(shown, form) {
				what = append(what, name)
				break
			}
		}
	}
	return what
}

// verbs are fmt's; of a pointer in a field the first show the address, the others what is there.
var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"}

const plainVerbs = 3

// show is v in all ways there are to show a value, and what it points to, and the errors
// that it wraps.
func show(v any) map[string]string {
	ways := map[string]string{}
	forms := map[string]any{"": v, "in a struct": struct{ V any }{v}, "in a slice": []any{v}, "in a map": map[string]any{"v": v}}
	r := reflect.ValueOf(v)
	still := r.Kind() != reflect.Pointer || !atWork(r.Type())
	if r.Kind() == reflect.Pointer && !r.IsNil() && still && ast.IsExported(r.Type().Elem().Name()) {
		forms["copied"] = r.Elem().Interface()
	}
	if t := strings.TrimPrefix(fmt.Sprintf("%T", v), "*"); still && t != "lmitest.Config" && t != "lmitest.Environ" { // those are what the user has written
		forms["hidden"] = struct{ v any }{v} // where fmt calls no methods
	}
	for form, v := range forms {
		for i, verb := range verbs {
			if form == "hidden" && i >= plainVerbs {
				break
			}
			ways[form+" "+verb] = fmt.Sprintf(verb, v)
		}
		var text, jsons bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&jsons, nil)).Info("x", "v", v, slog.Group("g", "v", v))
		ways[form+" slog, text"], ways[form+" slog, JSON"] = text.String(), jsons.String()
		b, _ := json.Marshal(v) // functions cannot be
		ways[form+" JSON"] = string(b)
	}
	if err, ok := v.(error); ok {
		ways["Error"] = err.Error()
		var wrapped []error
		switch err := v.(type) {
		case interface{ Unwrap() error }:
			wrapped = append(wrapped, err.Unwrap())
		case interface{ Unwrap() []error }:
			wrapped = append(wrapped, err.Unwrap()...)
		}
		for i, w := range wrapped {
			if w == nil {
				continue
			}
			for way, shown := range show(w) {
				ways[fmt.Sprintf("wrapped[%d] %s", i, way)] = shown
			}
		}
	}
	return ways
}

// atWork are those of which a copy would race with the goroutines that use it.
func atWork(t reflect.Type) bool {
	switch t.Elem().Name() {
	case "Pool", "Lease", "Scope", "Source", "Function":
		return true
	}
	return false
}

// cover notes t, and what it is a pointer to or has as an exported field.
func cover(covered map[string]bool, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name, _, _ := strings.Cut(t.Name(), "[")
	id := t.PkgPath() + "." + name
	if covered[id] || !strings.HasPrefix(t.PkgPath(), "github.com/lmipool/lmipool") {
		return
	}
	covered[id] = true
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() {
				cover(covered, f.Type)
			}
		}
	}
}

// exportedTypes are those of the package in dir, but for interfaces and aliases, which have
// no values of their own.
func exportedTypes(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if path.Ext(e.Name()) != ".go" || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, s := range g.Specs {
				s := s.(*ast.TypeSpec)
				if _, isInterface := s.Type.(*ast.InterfaceType); s.Name.IsExported() && !s.Assign.IsValid() && !isInterface {
					names = append(names, s.Name.Name)
				}
			}
		}
	}
	require.NotEmpty(t, names, dir)
	return names
}

// everything is a slog.Handler that shows what it is given in every way.
type everything struct {
	mu    sync.Mutex
	b     strings.Builder
	lines int
}

func (h *everything) logger() *slog.Logger                     { return slog.New(h) }
func (h *everything) Enabled(context.Context, slog.Level) bool { return true }
func (h *everything) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *everything) WithGroup(string) slog.Handler            { return h }
func (h *everything) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines++
	fmt.Fprintln(&h.b, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintln(&h.b, a.Key, a.Value.String())
		for _, shown := range show(a.Value.Any()) {
			fmt.Fprintln(&h.b, shown)
		}
		return true
	})
	return nil
}

func (h *everything) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}
