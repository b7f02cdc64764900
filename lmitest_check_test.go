package lmipool_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lmitest"
)

// failing is a testing.TB that keeps its errors, and whose cleanups run when end is called.
type failing struct {
	testing.TB
	mu       sync.Mutex
	errors   []string
	cleanups []func()
}

func (f *failing) Helper()          {}
func (f *failing) Cleanup(g func()) { f.cleanups = append(f.cleanups, g) }
func (f *failing) Errorf(format string, a ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, fmt.Sprintf(format, a...))
}

func (f *failing) end() []string {
	for i := range f.cleanups {
		f.cleanups[len(f.cleanups)-1-i]()
	}
	return f.errors
}

// mistakes are what a Checker finds, by the event that makes the handler do it.
var mistakes = map[string]string{
	"good":      "", // it also has statements that are not known yet, and values of sequences
	"leak":      "did not give back a lease, which ran \"select ?\"",
	"dirty":     "left something in its session: settings",
	"panic":     "a handler panicked, which ends the process on a managed instance: as asked",
	"straggler": "goes on after the handler has returned",
	"late":      "returned after its deadline",
}

func TestACheckerFailsATestForEachMistake(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	c, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	_, err = c.Exec(t.Context(), "create sequence s")
	require.NoError(t, err)
	require.NoError(t, c.Close(t.Context()))
	for event, want := range mistakes {
		t.Run(event, func(t *testing.T) {
			t.Parallel()
			f := &failing{TB: t}
			check := lmitest.Check(f)
			db, err := lmipool.Open(t.Context(), dsn, &lmipool.Config{MaxConns: 1, Observers: []any{check}})
			require.NoError(t, err)
			over := make(chan struct{})
			handle := func(ctx context.Context, event string) (string, error) {
				l, err := db.Acquire(context.WithoutCancel(ctx)) // on a busy machine the late one's 50 ms may be over
				if err != nil {
					return "", err
				}
				if event != "leak" {
					defer l.Release()
				}
				_, err = l.Exec(ctx, "select 1")
				switch event {
				case "good":
					_, err = l.Exec(ctx, "select nextval('s')")
				case "dirty":
					_, err = l.Exec(ctx, "set work_mem = '1MB'")
				case "panic":
					panic("as asked")
				case "straggler":
					go func() { <-over }()
				case "late":
					<-ctx.Done()
					time.Sleep(time.Second) // while somebody looks where it is
				}
				return "", err
			}
			o, events := lmitest.CallOptions{Check: check, Concurrency: 1, Timeout: time.Minute}, []string{event, event}
			if event == "late" {
				o.Timeout, events = 50*time.Millisecond, events[:1]
			}
			lmitest.Call(t.Context(), o, lmipool.Handler(db, handle), events)
			close(over)
			db.Close()
			errors := f.end()
			if want == "" {
				assert.Empty(t, errors)
				return
			}
			require.Len(t, errors, 1)
			assert.Contains(t, errors[0], want)
			if event == "leak" || event == "panic" {
				assert.Contains(t, errors[0], "(2 times)")
			}
			assert.Contains(t, strings.Split(errors[0], "\n")[1], "lmitest_check_test.go:", "the place in the handler")
		})
	}
}
