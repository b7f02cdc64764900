package status_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A real browser runs the page for five of its seconds: it shows numbers and graphs, and its console is empty.
func TestABrowserShowsThePage(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium here")
	}
	page, db := watched(t)
	url, err := page.Start(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), "select pg_sleep(0.01), '<img src=x onerror=alert(1)>' as \"<b>bold</b>\"")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var said strings.Builder
	c := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(), "--enable-logging=stderr",
		"--virtual-time-budget=5000", "--dump-dom", url)
	c.Stderr = &said
	dom, err := c.Output()
	require.NoError(t, err, said.String())
	text := string(dom)
	assert.Contains(t, text, `<span id="state" class="">live</span>`)
	assert.Contains(t, text, "connections in use, of the limit")
	assert.Equal(t, 6, strings.Count(text, "<svg"), "six graphs")
	assert.Contains(t, text, "&lt;b&gt;bold", "a statement's text is shown as text")
	assert.NotContains(t, text, "<b>bold")
	for line := range strings.Lines(said.String()) {
		assert.NotContains(t, line, "CONSOLE", "the console is empty")
	}
}
