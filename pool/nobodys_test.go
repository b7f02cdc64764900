package pool_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/tracelog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// A hook that ends its goroutine, as a test's FailNow does, leaves a connection that nobody has: it is closed, so the next caller is served and
// Shutdown returns.
func TestAHookThatEndsItsGoroutineCostsItsConnectionOnly(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]func(*pool.Config, func()){
		"PrepareConn": func(c *pool.Config, exit func()) {
			c.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) { exit(); return true, nil }
		},
		"ShouldPing": func(c *pool.Config, exit func()) {
			c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { exit(); return false }
		},
		"BeforeConnect": func(c *pool.Config, exit func()) {
			c.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { exit(); return nil }
		},
		"AfterConnect": func(c *pool.Config, exit func()) {
			c.AfterConnect = func(context.Context, *pgx.Conn) error { exit(); return nil }
		},
		"TraceConnectEnd": func(c *pool.Config, exit func()) { c.Tracer = exitTracer{&tracelog.TraceLog{Logger: quiet{}}, exit} },
		"AfterRelease":    func(c *pool.Config, exit func()) { c.AfterRelease = func(*pgx.Conn) bool { exit(); return true } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			c := &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()}
			hook(c, func() { once.Do(runtime.Goexit) })
			p, err := pool.New(t.Context(), pgtest.Database(t), c)
			require.NoError(t, err)
			var wg sync.WaitGroup
			first, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			wg.Go(func() { _ = p.Ping(first) })
			wg.Wait()
			assert.NoError(t, first.Err(), "the first caller was told")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			require.NoError(t, p.Ping(ctx))
			over := make(chan error, 1)
			go func() { over <- p.Shutdown(ctx) }()
			select {
			case err := <-over:
				assert.NoError(t, err)
			case <-time.After(time.Minute):
				t.Error("Shutdown hangs")
			}
		})
	}
}

type exitTracer struct {
	*tracelog.TraceLog
	exit func()
}

func (t exitTracer) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}
func (t exitTracer) TraceConnectEnd(context.Context, pgx.TraceConnectEndData) { t.exit() }

type quiet struct{}

func (quiet) Log(context.Context, tracelog.LogLevel, string, map[string]any) {}

// A hook that ignores its ctx cannot be ended. Shutdown says so, and the rest goes when the hook returns.
func TestShutdownReturnsBesideAHookThatDoesNot(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes the 15 seconds that Shutdown waits")
	}
	type blocks func(*pool.Config, func())
	for name, hook := range map[string]blocks{
		"AfterRelease": func(c *pool.Config, block func()) { c.AfterRelease = func(*pgx.Conn) bool { block(); return true } },
		"AfterConnect": func(c *pool.Config, block func()) {
			c.AfterConnect = func(context.Context, *pgx.Conn) error { block(); return nil }
		},
		"BeforeClose": func(c *pool.Config, block func()) { c.BeforeClose = func(*pgx.Conn) { block() } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, goOn := make(chan struct{}), make(chan struct{})
			c := &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()}
			hook(c, func() { close(in); <-goOn })
			p, err := pool.New(t.Context(), pgtest.Database(t), c)
			require.NoError(t, err)
			go p.Ping(context.Background())
			if name == "BeforeClose" {
				eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
			} else {
				<-in
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			over := make(chan error, 1)
			go func() { over <- p.Shutdown(ctx) }()
			select {
			case err := <-over:
				var e *pool.ShutdownError
				require.ErrorAs(t, err, &e)
				assert.Equal(t, 1, e.Open)
				assert.ErrorContains(t, err, "a hook that does not return: 1")
				assert.ErrorIs(t, err, context.Canceled)
			case <-time.After(2 * time.Minute):
				t.Error("Shutdown hangs")
			}
			close(goOn)
			p.Close()
			assert.Zero(t, p.Stat().TotalConns())
		})
	}
}
