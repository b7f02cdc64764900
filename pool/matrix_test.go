package pool_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// besides are the files whose tests are about what the matrix is about.
var besides = regexp.MustCompile(`^(lane_.*|isolation.*|cancel.*|intx)_test\.go$`)

// TestTheMatrixNamesTests holds the list of `make test-matrix`: each name is that of a test of this package, and no new
// test beside them is forgotten. go test runs what it finds and says nothing of a name without a test.
func TestTheMatrixNamesTests(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/matrix.txt")
	require.NoError(t, err)
	var listed []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			assert.NotContains(t, listed, line, "twice")
			listed = append(listed, line)
		}
	}
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	test := regexp.MustCompile(`(?m)^func (Test\w*)\(t \*testing\.T\)`)
	var all []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range test.FindAllStringSubmatch(string(source), -1) {
			all = append(all, m[1])
			if besides.MatchString(file) && !slices.Contains(listed, m[1]) {
				t.Errorf("%s of %s is not in testdata/matrix.txt: name it there, or put it into another file", m[1], file)
			}
		}
	}
	require.NotEmpty(t, all)
	for _, name := range listed {
		if !slices.Contains(all, name) {
			t.Errorf("testdata/matrix.txt names %q, which is no test of this package", name)
		}
	}
}
