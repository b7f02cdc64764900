package lmipool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

// TestMain is also the main of the handlers that lmitest runs as child processes.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		runChild()
	}
	if os.Getenv(spin) != "" {
		spinUntilStdinEnds()
	}
	os.Exit(pgtest.Main(m))
}

// logged is a logger and what it wrote, as JSON objects.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Key = bareDuration
		}
		return a
	}}))
}

// bareDuration is the name under which a duration is logged that JSON shows as nanoseconds.
const bareDuration = "a duration in nanoseconds"

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// line returns the one record whose message contains msg.
func (l *logged) line(t *testing.T, msg string) map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(l.text()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		if strings.Contains(m["msg"].(string), msg) {
			found = append(found, m)
		}
	}
	require.Len(t, found, 1, "%s in\n%s", msg, l.text())
	require.NotContains(t, l.text(), bareDuration)
	return found[0]
}

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
