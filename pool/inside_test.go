package pool

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

// newQuietPool is a pool that logs nothing, for tests that look inside it.
func newQuietPool(t *testing.T, c Config) (context.Context, *Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	c.Logger = slog.New(slog.DiscardHandler)
	p, err := New(ctx, pgtest.Database(t), &c)
	require.NoError(t, err)
	t.Cleanup(func() {
		done, cancel := context.WithCancel(ctx)
		cancel()
		p.Shutdown(done)
	})
	return ctx, p
}
