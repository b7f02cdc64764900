package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/observe"
)

// safeBuffer is a buffer that several goroutines write to.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSpace(s.b.String()), "\n")
}

type refused struct{}

func (refused) Error() string    { return `invalid input: "secret"` }
func (refused) SQLState() string { return "22P02" }

// What led to a leak is one line of JSON, without anything that may be a secret; the next ones wait for a minute, or the end.
func TestTheLastEventsAreOneLine(t *testing.T) {
	t.Parallel()
	out, ctx, now := &safeBuffer{}, context.Background(), time.Now()
	l := New(slog.New(slog.NewJSONHandler(out, nil)))
	l.Write("nothing", true)
	for range 1000 {
		l.ObserveRefused(ctx, observe.Refusal{At: now, Reason: observe.Late})
	}
	l.ObserveDial(ctx, observe.Dial{Start: now, End: now, Err: errors.New(strings.Repeat("long ", 1000))})
	l.ObserveLimit(ctx, observe.Limit{At: now, From: 1, To: 2, Why: "demand"})
	l.ObserveSlow(ctx, observe.Statement{Asked: now, End: now.Add(time.Second), SQL: "select 'secret'", Err: refused{}})
	l.ObservePanic(ctx, observe.Panic{At: now, In: "a handler", Value: "secret", Place: []string{"main.go:1 main.main"}})
	l.ObserveCancel(ctx, observe.Cancel{Start: now, End: now, Lost: true})
	l.ObserveLeak(ctx, observe.Leak{At: now, For: "lease", SQL: "select 'secret'", Place: []string{"main.go:2 main.main"}, RequestID: "r1"})
	var line struct {
		Because string
		Events  []entry
	}
	require.Len(t, out.lines(), 1)
	require.NoError(t, json.Unmarshal([]byte(out.lines()[0]), &line))
	assert.Equal(t, "a leak", line.Because)
	require.Len(t, line.Events, 7)
	assert.Equal(t, 1000, line.Events[0].N, "the same again is counted")
	assert.Equal(t, "22P02", line.Events[3].Error)
	assert.Equal(t, "select ?", line.Events[3].SQL)
	assert.Equal(t, "connection lost", line.Events[5].Why)
	assert.Equal(t, "r1", line.Events[6].RequestID)
	assert.NotContains(t, out.lines()[0], "secret")

	for i := range 1000 {
		l.ObserveLeak(ctx, observe.Leak{At: now, Place: []string{fmt.Sprint(i)}})
	}
	assert.Len(t, out.lines(), 1, "once a minute")
	l.ObserveOverrun(ctx, observe.Overrun{Start: now, At: now, Overrunning: 1})
	l.ObserveFence(ctx, observe.Fence{At: now, Why: "standby"})
	l.ObserveStandDown(ctx, observe.StandDown{At: now, Why: "overruns"})
	assert.Eventually(t, func() bool { return len(out.lines()) == 2 }, time.Minute, time.Millisecond)
	line.Events = nil
	require.NoError(t, json.Unmarshal([]byte(out.lines()[1]), &line))
	assert.Len(t, line.Events, most)
	assert.Equal(t, "stand-down", line.Events[most-1].What)
	assert.Less(t, len(out.lines()[1]), 64<<10)
	l.Write("SIGTERM", true)
	assert.Len(t, out.lines(), 2, "nothing since")
}
