package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

func TestShouldPingHearsHowLongAConnectionWasIdle(t *testing.T) {
	t.Parallel()
	var idle []time.Duration
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, ShouldPing: func(_ context.Context, s pgxpool.ShouldPingParams) bool {
		idle = append(idle, s.IdleDuration)
		return false
	}})
	began := time.Now()
	require.NoError(t, p.Ping(ctx))
	from := time.Now()
	newInspector(t, pgtest.Database(t)) // takes a while
	to := time.Now()
	require.NoError(t, p.Ping(ctx))
	require.Len(t, idle, 2)
	assert.GreaterOrEqual(t, idle[1], to.Sub(from))
	assert.LessOrEqual(t, idle[1], time.Since(began))
}

func TestAConnectionThatAgedWhileIdleIsNotHandedOut(t *testing.T) {
	t.Parallel()
	const lifetime = 50 * time.Millisecond
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, MaxConnLifetime: lifetime, MaxConnLifetimeJitter: -1, HealthCheckPeriod: time.Hour})
	var first int
	for p.Stat().IdleConns() == 0 { // it may have aged in use
		require.NoError(t, ctx.Err())
		first = pid(t, p)
	}
	time.Sleep(lifetime) // its age
	require.EqualValues(t, 1, p.Stat().IdleConns())
	assert.NotEqual(t, first, pid(t, p))
	assert.Positive(t, p.Stat().MaxLifetimeDestroyCount())
}

func TestAConnectionThatDoesNotAnswerIsReplacedWithinPingTimeout(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	proxy := newProxy(t, dsn)
	const timeout = 50 * time.Millisecond
	dials := 0
	ctx, p := bounded(t), newPoolAt(t, dsn, &pool.Config{
		MaxConns:    2,
		PingTimeout: timeout,
		ShouldPing:  func(context.Context, pgxpool.ShouldPingParams) bool { return true },
		BeforeConnect: func(ctx context.Context, c *pgx.ConnConfig) error {
			if dials++; dials == 1 { // the others have a network that works
				return through(proxy)(ctx, c)
			}
			return nil
		},
	})
	defer proxy.Close()
	first := pid(t, p)
	eventually(t, "its session is reset", func() bool { return p.Stat().IdleConns() == 1 })
	proxy.Stall(true)
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	began := time.Now()
	var second int
	require.NoError(t, p.QueryRow(short, "select pg_backend_pid()").Scan(&second))
	assert.NotEqual(t, first, second)
	assert.GreaterOrEqual(t, time.Since(began), timeout)
}

// While others use connections, the server's end of one that does not answer is waited for as long as for one that answers, which is a second, and not
// for pgx's 15 seconds.
func TestTheEndOfAConnectionThatDoesNotAnswerIsWaitedForBriefly(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	proxy := newProxy(t, dsn)
	const timeout = 50 * time.Millisecond
	pings := false
	ctx, p := bounded(t), newPoolAt(t, dsn, &pool.Config{
		MaxConns: 2, PingTimeout: timeout, BeforeConnect: through(proxy),
		ShouldPing: func(context.Context, pgxpool.ShouldPingParams) bool { return pings },
	})
	used, err := p.Acquire(ctx)
	require.NoError(t, err)
	pid(t, p)
	eventually(t, "its session is reset", func() bool { return p.Stat().IdleConns() == 1 })
	proxy.Forget()
	pings = true
	began := time.Now()
	pid(t, p)
	assert.GreaterOrEqual(t, time.Since(began), timeout+time.Second)
	assert.Less(t, time.Since(began), 10*time.Second)
	proxy.Cut()
	used.Release()
}

func TestShutdownTakesAConnectionBackThatIsStillChecked(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	checking := make(chan struct{})
	// Not newPool: if the connection is lost, its Shutdown would not return.
	p, err := pool.New(ctx, pgtest.Database(t), &pool.Config{
		MaxConns: 1,
		Logger:   (&logs{}).logger(),
		PrepareConn: func(ctx context.Context, _ *pgx.Conn) (bool, error) {
			close(checking)
			<-ctx.Done()
			return true, nil
		},
	})
	require.NoError(t, err)
	acquired, done := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := p.Acquire(ctx)
		acquired <- err
	}()
	<-checking
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	go func() { done <- p.Shutdown(short) }()
	var e *pool.ShutdownError
	if assert.ErrorAs(t, ends(t, "Shutdown", done), &e) {
		assert.Len(t, e.Out, 1)
	}
	assert.ErrorIs(t, ends(t, "Acquire", acquired), pool.ErrClosed)
	assert.Zero(t, p.Stat().TotalConns())
}

func TestNobodyGetsAConnectionWhoseInvocationEndedDuringItsChecks(t *testing.T) {
	t.Parallel()
	checking, goOn := make(chan struct{}), make(chan struct{})
	first := true
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, PrepareConn: func(context.Context, *pgx.Conn) (bool, error) {
		if first {
			first = false
			close(checking)
			<-goOn
		}
		return true, nil
	}})
	inv, scope := p.OpenScope(ctx, "", time.Time{})
	acquired := make(chan error, 1)
	go func() {
		_, err := p.Acquire(context.WithoutCancel(inv))
		acquired <- err
	}()
	<-checking
	scope.End()
	close(goOn)
	assert.ErrorIs(t, ends(t, "Acquire", acquired), pool.ErrInvocationEnded)
	assert.Zero(t, p.Stat().AcquiredConns())
	assert.EqualValues(t, 1, p.Stat().IdleConns(), "the connection is fine")
}
