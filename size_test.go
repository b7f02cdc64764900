package lmipool_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
