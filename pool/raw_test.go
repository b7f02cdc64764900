package pool_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// rollbacks counts the rollbacks that are tried.
type rollbacks struct{ n atomic.Int32 }

func (r *rollbacks) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if d.SQL == "rollback" {
		r.n.Add(1)
	}
	return ctx
}
func (*rollbacks) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestABusyRawConnectionIsReplacedNotHandedOn(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	var tried rollbacks
	ctx, server, p := bounded(t), newInspector(t, dsn), newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Tracer: &tried})
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	_, err = l.Conn().Query(ctx, rowsThenSleep)
	require.NoError(t, err)
	eventually(t, "it runs", func() bool { return server.running(rowsThenSleep) == 1 })
	began := time.Now()
	l.Release()
	_, err = p.Exec(ctx, "select 1")
	assert.NoError(t, err)
	assert.Less(t, time.Since(began), 10*time.Second, "nobody waits for the statement")
	assert.Equal(t, 1, server.backends(), "which was cancelled")
	assert.Zero(t, tried.n.Load(), "a busy connection cannot be rolled back")
}

func TestWhatGivesTheRawConnectionAwayCostsItWhenForgotten(t *testing.T) {
	t.Parallel()
	for name, leak := range map[string]func(context.Context, *pool.Pool) error{
		"Lease.Conn": func(ctx context.Context, p *pool.Pool) error {
			l, err := p.Acquire(ctx)
			if err == nil {
				l.Conn()
			}
			return err
		},
		"Rows.Conn": func(ctx context.Context, p *pool.Pool) error {
			r, err := p.Query(ctx, "select 1")
			if err == nil {
				r.Conn()
			}
			return err
		},
		"Tx.Conn": func(ctx context.Context, p *pool.Pool) error {
			tx, err := p.Begin(ctx)
			if err == nil {
				tx.Conn()
			}
			return err
		},
		"Tx.LargeObjects": func(ctx context.Context, p *pool.Pool) error {
			tx, err := p.Begin(ctx)
			if err == nil {
				tx.LargeObjects()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
			first := pid(t, p)
			inv, scope := p.OpenScope(ctx, "", time.Time{})
			require.NoError(t, leak(inv, p))
			scope.End()
			assert.NotEqual(t, first, pid(t, p))
		})
	}
}

// The network has died, so that nothing comes which could end the read.
func TestAStragglerBlockedInAReadReturns(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	server, proxy := newInspector(t, dsn), newProxy(t, dsn)
	ctx, p := bounded(t), newPoolAt(t, dsn, &pool.Config{MaxConns: 1, BeforeConnect: through(proxy), Logger: (&logs{}).logger()})
	defer proxy.Close()
	inv, scope := p.OpenScope(ctx, "", time.Time{})
	l, err := p.Acquire(inv)
	require.NoError(t, err)
	raw, done := l.Conn(), make(chan error, 1)
	go func() {
		_, err := raw.Exec(context.Background(), "select pg_sleep(30)")
		done <- err
	}()
	eventually(t, "it runs", func() bool { return server.running("%pg_sleep(30)") == 1 })
	proxy.Stall(true)
	scope.End()
	assert.Error(t, ends(t, "the read", done))
}

func TestShutdownCutsARawStragglerOff(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server, p := bounded(t), newInspector(t, dsn), newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	raw, done := l.Conn(), make(chan error, 1)
	go func() {
		_, err := raw.Exec(context.Background(), "select pg_sleep(30)")
		done <- err
	}()
	eventually(t, "it runs", func() bool { return server.running("%pg_sleep(30)") == 1 })
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	var e *pool.ShutdownError
	assert.ErrorAs(t, p.Shutdown(short), &e)
	assert.Zero(t, p.Stat().TotalConns())
	assert.Zero(t, server.backends())
	assert.Error(t, ends(t, "the statement", done))
}
