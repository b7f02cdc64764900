package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each patch in testdata is a bug in internal/sched. The rules find each within a minute, with what -overlay makes of the source. LMIPOOL_TEST_SIM
// turns it on: each is built anew.
func TestPlantedBugsAreFound(t *testing.T) {
	if os.Getenv("LMIPOOL_TEST_SIM") == "" {
		t.Skip("LMIPOOL_TEST_SIM is not set")
	}
	patches, err := filepath.Glob("testdata/*.patch")
	require.NoError(t, err)
	require.NotEmpty(t, patches)
	for _, patch := range patches {
		t.Run(strings.TrimSuffix(filepath.Base(patch), ".patch"), func(t *testing.T) {
			overlay := overlayOf(t, patch)
			bin := filepath.Join(t.TempDir(), "sim.test")
			out, err := exec.Command("go", "test", "-overlay", overlay, "-vet=off", "-c", "-o", bin, ".").CombinedOutput()
			require.NoError(t, err, "it does not compile: %s", out)
			began := time.Now()
			run := exec.Command(bin, "-test.run", "^TestTheRulesHold$", "-test.failfast")
			run.Env = append(os.Environ(), "LMIPOOL_TEST_SIM=1m")
			out, err = run.CombinedOutput()
			require.Error(t, err, "it is not found:\n%s", out)
			_, found, ok := strings.Cut(string(out), "broken: ")
			assert.True(t, ok, "%s", out)
			rule, rest, _ := strings.Cut(found, "\n")
			_, where, _ := strings.Cut(rest, "scenario ")
			where, _, _ = strings.Cut(where, "\n")
			t.Logf("after %v: %s: scenario %s", time.Since(began).Round(time.Millisecond), rule, where)
		})
	}
}

func TestThePatchesApply(t *testing.T) {
	t.Parallel()
	patches, err := filepath.Glob("testdata/*.patch")
	require.NoError(t, err)
	for _, patch := range patches {
		overlayOf(t, patch)
	}
}

// overlayOf is a file for -overlay with patch applied.
func overlayOf(t *testing.T, patch string) string {
	t.Helper()
	diff, err := os.ReadFile(patch)
	require.NoError(t, err)
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir, replace := t.TempDir(), map[string]string{}
	for i, file := range strings.Split("\n"+string(diff), "\n--- ")[1:] {
		name, rest, _ := strings.Cut(file, "\n")
		_, hunks, _ := strings.Cut(rest, "\n@@")
		path := filepath.Join(root, name)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		patched := apply(t, string(text), hunks, patch)
		replace[path] = filepath.Join(dir, fmt.Sprintf("%d.go", i))
		require.NoError(t, os.WriteFile(replace[path], []byte(patched), 0o600))
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	name := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return name
}

// apply applies a unified diff's hunks to text. Of where they were only their lines count: each must be there once.
func apply(t *testing.T, text, hunks, patch string) string {
	t.Helper()
	for hunk := range strings.SplitSeq(hunks, "\n@@") {
		_, lines, _ := strings.Cut(hunk, "\n")
		var was, is strings.Builder
		for line := range strings.Lines(strings.TrimSuffix(lines, "\n") + "\n") {
			switch line[0] {
			case '-':
				was.WriteString(line[1:])
			case '+':
				is.WriteString(line[1:])
			case ' ':
				was.WriteString(line[1:])
				is.WriteString(line[1:])
			case '\n':
				was.WriteString(line)
				is.WriteString(line)
			}
		}
		require.Equal(t, 1, strings.Count(text, was.String()), "%s: the source has no place, or several, for\n%s", patch, was.String())
		text = strings.Replace(text, was.String(), is.String(), 1)
	}
	return text
}
