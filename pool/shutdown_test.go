package pool_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

func TestShutdownWaitsForWhatIsOut(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	done := make(chan error)
	go func() { done <- p.Shutdown(ctx) }()
	eventually(t, "new uses are refused", func() bool { return errors.Is(p.Ping(ctx), pool.ErrClosed) })
	_, err = l.Exec(ctx, "select 1")
	assert.NoError(t, err, "what is out goes on")
	l.Release()
	assert.NoError(t, <-done)
	assert.Zero(t, server.backends())
	assert.NoError(t, p.Shutdown(ctx), "a second time is nothing")
	p.Close()
}

func TestShutdownSaysWhatWasStillOut(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, Logger: (&logs{}).logger()})
	inv, scope := p.OpenScope(ctx, "req-7", time.Time{})
	defer scope.End()
	l, err := p.Acquire(inv)
	require.NoError(t, err)
	_, err = l.Exec(ctx, "select 'last words'")
	require.NoError(t, err)
	go p.Exec(ctx, "select pg_sleep(30)")
	eventually(t, "both are out", func() bool { return p.Stat().AcquiredConns() == 2 })

	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	err = p.Shutdown(short)
	var e *pool.ShutdownError
	require.ErrorAs(t, err, &e)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Len(t, e.Out, 2)
	assert.ErrorContains(t, err, "req-7")
	assert.ErrorContains(t, err, "doing \"select ?\"")
	assert.ErrorContains(t, err, "pg_sleep(?)")
	assert.Zero(t, server.backends(), "closed all the same")
	_, err = l.Exec(ctx, "select 1")
	assert.ErrorIs(t, err, pool.ErrClosed)
}

func TestShutdownEndsAHangingDialAndItsWaiters(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{BeforeConnect: hangingDials(t, 0), Logger: (&logs{}).logger()})
	done := make(chan error)
	go func() { done <- p.Ping(ctx) }()
	eventually(t, "it waits", func() bool { return p.Stat().Queued() == 1 })
	assert.NoError(t, p.Shutdown(ctx))
	assert.ErrorIs(t, <-done, pool.ErrClosed)
}

// Not parallel: goleak sees every goroutine of the process.
func TestAClosedPoolLeavesNoGoroutine(t *testing.T) {
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	ignore := goleak.IgnoreCurrent()
	p, err := pool.New(ctx, dsn, &pool.Config{MaxConns: 4, Logger: (&logs{}).logger()})
	require.NoError(t, err)
	together(16, func(i int) {
		inv, scope := p.OpenScope(ctx, "", time.Time{})
		leaks[i%len(leaks)].leak(inv, p)
		scope.End()
	})
	p.Close()
	goleak.VerifyNone(t, ignore)
}
