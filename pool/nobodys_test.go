package pool_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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
		"AfterRelease": func(c *pool.Config, exit func()) { c.AfterRelease = func(*pgx.Conn) bool { exit(); return true } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			c := &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()}
			hook(c, func() { once.Do(runtime.Goexit) })
			p, err := pool.New(t.Context(), pgtest.Database(t), c)
			require.NoError(t, err)
			var wg sync.WaitGroup
			wg.Go(func() { _ = p.Ping(context.Background()) })
			wg.Wait()
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
