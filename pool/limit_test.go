package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// together calls f from n goroutines that start at once.
func together(n int, f func(i int)) {
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

func TestAColdBurstOpensFewConnections(t *testing.T) {
	ctx := bounded(t)
	const burst = 64
	p := newPool(t, &pool.Config{MaxConns: burst})
	together(burst, func(int) {
		_, err := p.Exec(ctx, "select pg_sleep(0.001)")
		assert.NoError(t, err)
	})
	ours := p.Stat().NewConnsCount()

	px, err := pgxpool.New(ctx, pgtest.Database(t)+"&pool_max_conns=64")
	require.NoError(t, err)
	defer px.Close()
	together(burst, func(int) {
		_, err := px.Exec(ctx, "select pg_sleep(0.001)")
		assert.NoError(t, err)
	})
	t.Logf("64 statements of 1 ms at once: lmipool opened %d connections, pgxpool %d", ours, px.Stat().NewConnsCount())
	assert.LessOrEqual(t, ours, int64(16), "2 on a quiet machine: on a busy one each statement seems to take longer")
	assert.Greater(t, px.Stat().NewConnsCount(), ours, "without the growth rule: 64 on a quiet machine")
}

func TestLongHoldsGetAllTheConnectionsTheyMay(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 8})
	var out, peak atomic.Int32
	together(24, func(int) {
		assert.NoError(t, p.AcquireFunc(ctx, func(*pool.Lease) error {
			n := out.Add(1)
			defer out.Add(-1)
			for m := peak.Load(); n > m && !peak.CompareAndSwap(m, n); m = peak.Load() {
			}
			time.Sleep(300 * time.Millisecond) // the hold itself
			return nil
		}))
	})
	assert.EqualValues(t, 8, peak.Load())
	assert.EqualValues(t, 8, p.Stat().NewConnsCount())
}

func TestAcquireHandsOverInArrivalOrder(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 1})
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	order := make(chan int, 10)
	var wg sync.WaitGroup
	for i := range cap(order) {
		wg.Go(func() {
			assert.NoError(t, p.AcquireFunc(ctx, func(*pool.Lease) error { order <- i; return nil }))
		})
		eventually(t, "it queues", func() bool { return p.Stat().Queued() == int32(i+1) })
	}
	l.Release()
	wg.Wait()
	close(order)
	want := 0
	for got := range order {
		assert.Equal(t, want, got)
		want++
	}
}

// hangingDials lets n dials through and hangs the others until the test ends.
func hangingDials(t *testing.T, n int64) func(context.Context, *pgx.ConnConfig) error {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	var dials atomic.Int64
	return func(_ context.Context, c *pgx.ConnConfig) error {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) > n {
				select {
				case <-release:
				case <-ctx.Done():
				}
				return nil, fmt.Errorf("this dial hung")
			}
			return dial(ctx, network, addr)
		}
		return nil
	}
}

func TestAWaiterTakesAFreedConnectionWhileItsDialHangs(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 4, BeforeConnect: hangingDials(t, 1)})
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	served := make(chan error)
	go func() {
		_, err := p.Exec(ctx, "select 1")
		served <- err
	}()
	eventually(t, "a dial is under way for the waiter", func() bool { return p.Stat().ConstructingConns() == 1 })
	l.Release()
	assert.NoError(t, <-served)
	assert.EqualValues(t, 1, p.Stat().ConstructingConns(), "and the dial hangs still")
}

func TestAFailedDialIsTheCallersErrorOnlyWithoutAnyConnection(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	var down atomic.Bool
	down.Store(true)
	p := newPool(t, &pool.Config{MaxConns: 4, Logger: (&logs{}).logger(), BeforeConnect: func(context.Context, *pgx.ConnConfig) error {
		if down.Load() {
			return fmt.Errorf("no token")
		}
		return nil
	}})
	together(8, func(int) {
		_, err := p.Exec(ctx, "select 1")
		var acquire *pool.AcquireError
		if assert.ErrorAs(t, err, &acquire) {
			assert.ErrorContains(t, err, "no token")
		}
	})

	down.Store(false)
	require.NoError(t, p.Ping(ctx))
	down.Store(true)
	before := p.Stat().Dials().Failed
	together(8, func(int) {
		assert.NoError(t, p.AcquireFunc(ctx, func(*pool.Lease) error {
			eventually(t, "more connections are tried", func() bool { return p.Stat().Dials().Failed > before })
			return nil
		}), "while there is a connection, they wait for it")
	})
	assert.Less(t, p.Stat().Dials().Failed, int64(20), "and dials back off")
}

func TestAcquireErrorTellsWhoHoldsTheConnections(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 1})
	inv, scope := p.OpenScope(ctx, "8f3a-req", time.Time{})
	defer scope.End()
	l, err := p.Acquire(inv)
	require.NoError(t, err)
	_, err = l.Exec(ctx, "select 'what it does', $1::text", "secret-argument")
	require.NoError(t, err)

	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	_, err = p.Acquire(short)
	var e *pool.AcquireError
	require.ErrorAs(t, err, &e)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.GreaterOrEqual(t, e.Waited, 30*time.Millisecond)
	assert.Equal(t, []int{1, 1, 1, 1, 1}, []int{e.MaxConns, e.Open, e.Limit, e.InUse, e.Queued})
	require.NotNil(t, e.Longest)
	assert.Equal(t, "8f3a-req", e.Longest.Scope)
	assert.Contains(t, e.Longest.Stack[0], "TestAcquireErrorTellsWhoHoldsTheConnections")
	assert.Regexp(t, `^lmipool: acquire: waited [\d.]+m?s \(1 of at most 1 connections open or opening, 1 in use, queued 1; longest held .* by request 8f3a-req, `+
		`doing "select \?, \$1::text", acquired at .*TestAcquireErrorTells.*\): context deadline exceeded$`, err.Error())
	assert.NotContains(t, err.Error(), "secret-argument")
}

func TestMinConnsAreKeptOnceThePoolIsInUse(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 6, MinConns: 5, HealthCheckPeriod: 5 * time.Millisecond})
	require.NoError(t, p.Warm(ctx))
	eventually(t, "five connections", func() bool { return server.backends() == 5 && p.Stat().IdleConns() == 5 })
	_, err := server.c.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	require.NoError(t, err)
	var leases []*pool.Lease
	for range 5 { // all at once, so that every dead one is found
		l, err := p.Acquire(ctx)
		require.NoError(t, err)
		leases = append(leases, l)
	}
	for _, l := range leases {
		_ = l.Ping(ctx) // it may have been found dead before
		l.Release()
	}
	eventually(t, "five again", func() bool { return server.backends() == 5 && p.Stat().IdleConns() == 5 })
}

func TestIdleAndAgedConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, MaxConnIdleTime: 20 * time.Millisecond, HealthCheckPeriod: 5 * time.Millisecond})
	require.NoError(t, p.Ping(ctx))
	eventually(t, "an idle connection goes", func() bool { return server.backends() == 0 && p.Stat().TotalConns() == 0 })
	assert.EqualValues(t, 1, p.Stat().MaxIdleDestroyCount())

	p = newPoolAt(t, dsn, &pool.Config{MaxConns: 1, MaxConnLifetime: 20 * time.Millisecond, MaxConnLifetimeJitter: -1, HealthCheckPeriod: time.Hour})
	var first, second int
	require.NoError(t, p.QueryRow(ctx, "select pg_backend_pid() from pg_sleep(0.03)").Scan(&first))
	require.NoError(t, p.QueryRow(ctx, "select pg_backend_pid()").Scan(&second))
	assert.NotEqual(t, first, second, "an aged connection is not handed out")
}

// Aurora Serverless pauses only when no connection is left.
func TestAnIdlePoolShrinksToMinConnsAndToNoneIfAsked(t *testing.T) {
	t.Parallel()
	for _, least := range []int32{0, 2} {
		dsn := pgtest.Database(t)
		ctx, server := bounded(t), newInspector(t, dsn)
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, MinConns: least, MaxConnIdleTime: 100 * time.Millisecond, HealthCheckPeriod: 5 * time.Millisecond})
		var leases []*pool.Lease
		for range 4 {
			l, err := p.Acquire(ctx)
			require.NoError(t, err)
			leases = append(leases, l)
		}
		for _, l := range leases {
			l.Release()
		}
		eventually(t, "the pool shrinks", func() bool { return server.backends() == int(least) && p.Stat().TotalConns() == least })
		time.Sleep(300 * time.Millisecond)
		assert.Equal(t, int(least), server.backends(), "and stays so")
		assert.EqualValues(t, max(least, 1), p.Stat().Limit())
		assert.Equal(t, "idle", p.Stat().LimitReason())
	}
}

func TestADeadIdleConnectionIsReplacedUnseen(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, ShouldPing: func(context.Context, pgxpool.ShouldPingParams) bool { return true }})
	require.NoError(t, p.Ping(ctx))
	_, err := server.c.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	require.NoError(t, err)
	_, err = p.Exec(ctx, "select 1")
	assert.NoError(t, err)
}

// Invariants 1, 5 and 6, under whatever 64 goroutines do: never more backends than
// MaxConns on the server, nobody waits past his deadline, all comes back.
func TestStormOfAcquires(t *testing.T) {
	t.Parallel()
	seed := envSeed(t)
	dsn := pgtest.Database(t)
	server := newInspector(t, dsn)
	const most = 5
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: most, MaxConnLifetime: 50 * time.Millisecond, HealthCheckPeriod: 10 * time.Millisecond, Logger: (&logs{}).logger()})

	sampled := server.neverMore(most)
	together(64, func(g int) {
		r := rand.New(rand.NewPCG(seed, uint64(g)))
		for range 30 {
			timeout := time.Duration(r.IntN(40)) * time.Millisecond
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			inv, scope := p.OpenScope(ctx, fmt.Sprint(g), time.Time{})
			began := time.Now()
			err := randomUse(inv, p, r)
			if took := time.Since(began); took > timeout+5*time.Second {
				t.Errorf("a use with %s left took %s: %v", timeout, took, err)
			}
			scope.End()
			cancel()
		}
	})
	sampled()
	eventually(t, "everything came back", func() bool {
		s := p.Stat()
		return s.AcquiredConns() == 0 && s.Queued() == 0 && s.ConstructingConns() == 0 && s.TotalConns() == s.IdleConns()
	})
	assert.NoError(t, p.Ping(bounded(t)))
}

// randomUse uses the pool in one of the ways that a handler may, forgetting things.
func randomUse(ctx context.Context, p *pool.Pool, r *rand.Rand) error {
	sleep := fmt.Sprintf("select pg_sleep(%f)", r.Float64()*0.01)
	switch r.IntN(7) {
	case 0:
		_, err := p.Exec(ctx, sleep)
		return err
	case 1:
		p.QueryRow(ctx, sleep) // no Scan
		return nil
	case 2:
		rows, err := p.Query(ctx, "select repeat('x', 1000) from generate_series(1, 100)")
		if err == nil && r.IntN(2) == 0 {
			rows.Next()
			rows.Close()
		}
		return err
	case 3:
		_, err := p.Begin(ctx)
		return err
	case 4:
		l, err := p.Acquire(ctx)
		if err == nil && r.IntN(2) == 0 {
			_, err = l.Exec(ctx, sleep)
			l.Release()
		}
		return err
	case 5:
		l, err := p.Acquire(ctx)
		if err != nil {
			return err
		}
		_, err = l.Conn().Exec(ctx, sleep) // the raw connection, never released
		return err
	default:
		b := &pgx.Batch{}
		b.Queue(sleep)
		b.Queue("select " + strings.Repeat("1", 1+r.IntN(5)))
		p.SendBatch(ctx, b)
		return nil
	}
}
