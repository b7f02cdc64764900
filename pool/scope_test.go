package pool_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// leaks are the ways to forget something, each with what the log calls it and how
// the forgetful one notices afterwards.
var leaks = []struct {
	name, logged string
	leak         func(context.Context, *pool.Pool) (use func() error, err error)
}{
	{"lease", "a lease", func(ctx context.Context, p *pool.Pool) (func() error, error) {
		l, err := p.Acquire(ctx)
		return func() error { return l.Ping(context.Background()) }, err
	}},
	{"transaction", "a transaction", func(ctx context.Context, p *pool.Pool) (func() error, error) {
		tx, err := p.Begin(ctx)
		return func() error { return tx.Commit(context.Background()) }, err
	}},
	{"rows", "a query", func(ctx context.Context, p *pool.Pool) (func() error, error) {
		r, err := p.Query(pool.Alone(ctx), "select generate_series(1, 100)") // one that rides holds no connection
		return func() error {
			for r.Next() {
			}
			return r.Err()
		}, err
	}},
	{"batch", "a batch", func(ctx context.Context, p *pool.Pool) (func() error, error) {
		b := &pgx.Batch{}
		b.Queue("select generate_series(1, 100)")
		br := p.SendBatch(ctx, b)
		return func() error { _, err := br.Exec(); return err }, nil
	}},
	{"raw connection", "a lease", func(ctx context.Context, p *pool.Pool) (func() error, error) {
		l, err := p.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		l.Conn()
		return func() error { return l.Ping(context.Background()) }, err
	}},
	{"transaction with rows", "a transaction", func(ctx context.Context, p *pool.Pool) (func() error, error) {
		tx, err := p.Begin(ctx)
		if err != nil {
			return nil, err
		}
		_, err = tx.Query(ctx, "select generate_series(1, 100)")
		return func() error { return tx.Rollback(context.Background()) }, err
	}},
}

func TestWhatAnInvocationForgetsComesBack(t *testing.T) {
	t.Parallel()
	for _, leak := range leaks {
		t.Run(leak.name, func(t *testing.T) {
			t.Parallel()
			log := &logs{}
			ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 3, Logger: log.logger()})
			together(64, func(int) {
				inv, scope := p.OpenScope(ctx, "req-1", time.Time{})
				use, err := leak.leak(inv, p)
				if assert.NoError(t, err) {
					scope.End()
					assert.ErrorIs(t, use(), pool.ErrInvocationEnded)
				}
				_, err = p.Exec(inv, "select 1")
				assert.ErrorIs(t, err, pool.ErrInvocationEnded)
				<-inv.Done() // at once, or when the Rows are closed
			})
			eventually(t, "the pool is whole", func() bool { return p.Stat().AcquiredConns() == 0 && p.Stat().TotalConns() == p.Stat().IdleConns() })
			assert.EqualValues(t, 64, p.Stat().Invocations().Leaks)
			for message, places := range map[string]int{"the invocation ended with " + leak.logged + " still held": 1, "use Detach": 2} {
				lines := log.with(message)
				assert.Len(t, lines, places, "one for each place in the code: %s", message)
				for _, line := range lines {
					assert.Contains(t, line, "requestId=req-1")
					assert.Contains(t, line, "scope_test.go", "the place")
					assert.Contains(t, line, "count=1")
				}
			}
			assert.EqualValues(t, 128, p.Stat().Invocations().LateUses)
			assert.NoError(t, p.Ping(ctx))
		})
	}
}

func TestForgottenRowsAndTransactionsKeepTheirConnection(t *testing.T) {
	t.Parallel()
	for _, leak := range leaks[:4] {
		ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
		for range 5 {
			inv, scope := p.OpenScope(ctx, "", time.Time{})
			_, err := leak.leak(inv, p)
			require.NoError(t, err)
			scope.End()
		}
		require.NoError(t, p.Ping(ctx))
		assert.EqualValues(t, 1, p.Stat().NewConnsCount(), leak.name)
	}
}

// A goroutine that outlives its invocation, and has the raw connection, cannot be
// stopped: but what it sends goes nowhere, and nobody gets its connection.
func TestAStragglerWithTheRawConnectionIsCutOff(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	_, err := p.Exec(ctx, "create table t (n int)")
	require.NoError(t, err)

	inv, scope := p.OpenScope(ctx, "", time.Time{})
	l, err := p.Acquire(inv)
	require.NoError(t, err)
	raw := l.Conn()
	var straggler sync.WaitGroup
	stop := make(chan struct{})
	running := make(chan struct{})
	straggler.Go(func() { // idle and busy in turn, with a ctx that nobody can end
		for i := 0; ; i++ {
			if i == 10 {
				close(running)
			}
			select {
			case <-stop:
				return
			default:
				raw.Exec(context.Background(), "insert into t values (1)")
			}
		}
	})
	<-running
	scope.End()
	var before, after int
	// With MaxConns 1 this waits until the server has let go of the other.
	require.NoError(t, p.QueryRow(ctx, "select count(*) from t").Scan(&before))
	assert.Equal(t, 1, server.backends(), "the server has let go")
	for range 20 {
		require.NoError(t, p.Ping(ctx))
	}
	require.NoError(t, p.QueryRow(ctx, "select count(*) from t").Scan(&after))
	assert.Equal(t, before, after, "nothing is written after the end")
	close(stop)
	straggler.Wait()
}

func TestACallThatRunsWhenItsInvocationEndsIsStopped(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	for name, detach := range map[string]func(context.Context) context.Context{
		"with the invocation's ctx":  func(ctx context.Context) context.Context { return ctx },
		"with a ctx that never ends": context.WithoutCancel,
	} {
		inv, scope := p.OpenScope(ctx, "", time.Time{})
		done := make(chan error)
		go func() {
			_, err := p.Exec(detach(inv), "select pg_sleep(30)")
			done <- err
		}()
		eventually(t, "it runs", func() bool {
			var n int
			server.mu.Lock()
			defer server.mu.Unlock()
			require.NoError(t, server.c.QueryRow(ctx, "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep(30)' and pid <> pg_backend_pid()").Scan(&n))
			return n == 1
		})
		scope.End()
		assert.Error(t, <-done, name)
		eventually(t, "the server has stopped too", func() bool { return server.running("%pg_sleep(30)") == 0 && p.Stat().AcquiredConns() == 0 })
	}
}

func TestAWaiterLeavesTheQueueWithItsInvocation(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1})
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	defer l.Release()
	inv, scope := p.OpenScope(ctx, "", time.Time{})
	done := make(chan error)
	go func() {
		_, err := p.Acquire(context.WithoutCancel(inv))
		done <- err
	}()
	eventually(t, "it queues", func() bool { return p.Stat().Queued() == 1 })
	scope.End()
	assert.ErrorIs(t, <-done, pool.ErrInvocationEnded)
	assert.Zero(t, p.Stat().Queued())
}

func TestAScopeSpansPools(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	q := newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	inv, scope := p.OpenScope(ctx, "outer", time.Time{})
	same, inner := q.OpenScope(inv, "inner", time.Time{})
	assert.Equal(t, inv, same)
	assert.Nil(t, inner)
	inner.End() // does nothing
	_, err := q.Acquire(same)
	require.NoError(t, err)
	scope.End()
	assert.NoError(t, q.Ping(ctx))
	_, err = q.Exec(inv, "select 1")
	assert.ErrorIs(t, err, pool.ErrInvocationEnded)
}

func TestWithoutAScopeRowsAreReported(t *testing.T) {
	t.Parallel()
	log := &logs{}
	ctx, p := bounded(t), newPool(t, &pool.Config{ReportRowsAfter: 10 * time.Millisecond, HealthCheckPeriod: 5 * time.Millisecond, Logger: log.logger()})
	r, err := p.Query(ctx, "select 'forgotten'")
	require.NoError(t, err)
	eventually(t, "it is logged", func() bool { return len(log.lines()) > 0 })
	for range 5 {
		require.NoError(t, p.Ping(ctx))
	}
	require.Len(t, log.lines(), 1, "once")
	assert.Contains(t, log.lines()[0], "Rows or BatchResults are still open")
	assert.Contains(t, log.lines()[0], "doing=select ?")
	assert.Contains(t, log.lines()[0], "TestWithoutAScopeRowsAreReported")
	r.Close()
}
