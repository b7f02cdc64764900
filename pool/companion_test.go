package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

func newCompanion(t testing.TB, p *pool.Pool, n int32) *pgxpool.Pool {
	t.Helper()
	c, err := p.Companion(n)
	require.NoError(t, err)
	return c
}

func pidOn(ctx context.Context, t testing.TB, c interface {
	QueryRow(context.Context, string, ...any) pgx.Row
},
) (pid int) {
	t.Helper()
	require.NoError(t, c.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid))
	return pid
}

// hold has all n connections of the companion at once, and returns how to give them back.
func hold(ctx context.Context, t testing.TB, c *pgxpool.Pool, n int) (release func()) {
	t.Helper()
	conns := make([]*pgxpool.Conn, n)
	for i := range conns {
		var err error
		conns[i], err = c.Acquire(ctx)
		require.NoError(t, err)
	}
	return func() {
		for _, c := range conns {
			c.Release()
		}
	}
}

func TestACompanionIsRefused(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		config pool.Config
		n      int32
	}{
		"lmipool: Companion: Config.MaxConns is 2: want 3 or more, since the pool keeps 2":  {pool.Config{MaxConns: 2}, 1},
		"lmipool: Companion: n is 0: want 1 to 6, since MaxConns is 8 and the pool keeps 2": {pool.Config{MaxConns: 8}, 0},
		"lmipool: Companion: n is 7: want 1 to 6, since MaxConns is 8 and the pool keeps 2": {pool.Config{MaxConns: 8}, 7},
	} {
		_, err := newPoolAt(t, nowhere, &c.config).Companion(c.n)
		require.EqualError(t, err, want)
		assert.True(t, pool.Misconfigured(err))
	}
	p := newPoolAt(t, nowhere, &pool.Config{MaxConns: 8})
	first := newCompanion(t, p, 3)
	_, err := p.Companion(3)
	require.EqualError(t, err, "lmipool: Companion: the pool has a companion already: share that one, or close it first")
	first.Close()
	second := newCompanion(t, p, 3)
	p.Close()
	require.Error(t, second.Ping(t.Context()))
	_, err = p.Companion(3)
	assert.ErrorIs(t, err, pool.ErrClosed)
}

// A program that has a companion starts with Plain too, and has no more connections.
func TestAPlainPoolIsItsOwnCompanion(t *testing.T) {
	t.Parallel()
	p := newPoolAt(t, pgtest.Database(t), &pool.Config{MaxConns: 3, Plain: pool.On})
	c := newCompanion(t, p, 1)
	require.NoError(t, c.Ping(bounded(t)))
	require.NoError(t, p.Ping(bounded(t)))
	assert.EqualValues(t, 3, c.Config().MaxConns)
	assert.EqualValues(t, 1, p.Stat().TotalConns(), "both use the same connection")
	p.Close()
	_, err := p.Companion(1)
	require.ErrorIs(t, err, pool.ErrClosed)
}

// The pool has all its connections until the companion dials, and has them again when it is closed.
func TestACompanionTakesItsPlacesWhileItIsUsed(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, FleetBudget: -1})
	all := func(n int) (leases []*pool.Lease) {
		for range n {
			l, err := p.Acquire(ctx)
			require.NoError(t, err)
			leases = append(leases, l)
		}
		return leases
	}
	c := newCompanion(t, p, 2)
	leases := all(4)
	pinged := make(chan error)
	go func() { pinged <- c.Ping(ctx) }()
	select {
	case err := <-pinged:
		t.Fatalf("there is no room, and the companion has a connection: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	leases[0].Release()
	require.NoError(t, <-pinged)
	leases[1].Release()
	release := hold(ctx, t, c, 2)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err := p.Acquire(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, 4, server.backends())
	release()
	c.Close()
	for _, l := range append(leases[2:], all(2)...) {
		defer l.Release()
	}
	assert.Equal(t, 4, server.backends())
	for _, l := range leases {
		l.Release()
	}

	var name string
	require.NoError(t, newCompanion(t, p, 2).QueryRow(ctx, "show application_name").Scan(&name))
	assert.Equal(t, p.Config().ApplicationName, name)
}

// River takes the connection on which it listens out of its pool for ever.
func TestAConnectionThatWasHijackedCounts(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 5, FleetBudget: -1, ConnectTimeout: time.Second})
	c := newCompanion(t, p, 2)
	listens := func() *pgx.Conn {
		l, err := c.Acquire(ctx)
		require.NoError(t, err)
		_, err = l.Exec(ctx, "listen jobs")
		require.NoError(t, err)
		return l.Hijack()
	}
	listener := listens()
	release := hold(ctx, t, c, 2)
	_, err := p.Exec(ctx, "select pg_notify('jobs', 'one')")
	require.NoError(t, err)
	n, err := listener.WaitForNotification(ctx)
	require.NoError(t, err)
	assert.Equal(t, "one", n.Payload)
	a, err := p.Acquire(ctx)
	require.NoError(t, err)
	b, err := p.Acquire(ctx)
	require.NoError(t, err)
	assert.Equal(t, 5, server.backends())
	a.Release()
	release()
	another, third := listens(), listens()
	release = hold(ctx, t, c, 1)
	_, err = c.Acquire(ctx)
	require.ErrorContains(t, err, "lmipool: the companion has 4 connections, may have 4 of the pool's 5, and got no place for one more in time")
	for _, c := range []*pgx.Conn{listener, another, third} {
		require.NoError(t, c.Close(ctx))
	}
	release()
	b.Release()
	c.Close()
	eventually(t, "the pool has all places", func() bool {
		used, most := p.Places()
		return used+most == 0
	})
}

// A companion that has begun with the pool's only use still learns the pool's share.
func TestACompanionIsCountedInTheFleetsBudget(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit  int
		budget int32
	}{"configured": {-1, 16}, "the role's": {16, 0}, "none": {-1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			dsn, server := limitedRole(t, c.limit)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 8, FleetBudget: c.budget})
			with := newCompanion(t, p, 2)
			hold(ctx, t, with, 2)()
			require.NoError(t, p.Ping(ctx))
			f := p.Stat().Fleet()
			assert.LessOrEqual(t, f.Environments, int32(1), "the companion's are the pool's")
			assert.Zero(t, f.Others)

			// The share sinks.
			hijacked := must(with.Acquire(ctx))(t).Hijack()
			defer hijacked.Close(ctx)
			require.NoError(t, with.Ping(ctx))
			p.SetCeiling(2)
			require.NoError(t, p.Ping(ctx))
			eventually(t, "the pool keeps one, and the companion the one that is out for ever", func() bool {
				used, most := p.Places()
				return used == 1 && most == 1 && server.backends() == 2
			})
			p.SetCeiling(1)
			require.NoError(t, p.Ping(ctx), "the pool keeps one in any case")
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, with.Ping(short), context.DeadlineExceeded)
			p.SetCeiling(8)
			require.NoError(t, with.Ping(ctx))
		})
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

func TestAFenceAndResetReachTheCompanion(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, FleetBudget: -1, Logger: (&logs{}).logger()})
	c := newCompanion(t, p, 2)
	for name, gives := range map[string]func(){"fence": func() { require.NoError(t, p.Fence(ctx)) }, "reset": p.Reset} {
		was := pidOn(ctx, t, c)
		l := must(c.Acquire(ctx))(t)
		gives()
		require.Equal(t, was, pidOn(ctx, t, l), "what is out goes on")
		l.Release()
		assert.NotEqual(t, was, pidOn(ctx, t, c), name)
		eventually(t, "the old one has gone", func() bool {
			return server.count(fmt.Sprintf("select count(*) from pg_stat_activity where pid = %d", was)) == 0
		})
	}
}

func TestShutdownClosesTheCompanion(t *testing.T) {
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	before := goleak.IgnoreCurrent()
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 5, FleetBudget: -1})
	c := newCompanion(t, p, 2)
	l := must(c.Acquire(ctx))(t)
	done := make(chan error)
	go func() { done <- p.Shutdown(ctx) }()
	eventually(t, "new uses are refused", func() bool { return c.Ping(ctx) != nil })
	pidOn(ctx, t, l)
	l.Release()
	require.NoError(t, <-done, "it has waited for what was out")
	assert.Zero(t, server.backends())

	log := &logs{}
	p = newPoolAt(t, dsn, &pool.Config{MaxConns: 5, FleetBudget: -1, Logger: log.logger()})
	c = newCompanion(t, p, 2)
	listener := must(c.Acquire(ctx))(t).Hijack()
	var worker sync.WaitGroup
	worker.Go(func() {
		_, err := c.Exec(ctx, "select pg_sleep(60)")
		assert.Error(t, err)
	})
	worker.Go(func() {
		_, err := listener.WaitForNotification(ctx)
		assert.Error(t, err)
	})
	eventually(t, "it sleeps", func() bool {
		return server.count("select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()") == 1
	})
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	err := p.Shutdown(short)
	var e *pool.ShutdownError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, 2, e.Companion)
	assert.ErrorContains(t, err, "of the companion: 2")
	assert.Zero(t, server.backends(), "what ran was cancelled")
	assert.Len(t, log.with("shutdown: connections of the companion were still out; they were closed conns=2"), 1)
	worker.Wait()
	goleak.VerifyNone(t, before)
}

// pgx says goodbye to a server that is busy with a statement, and does not hear it. A cancel request ends that statement.
func TestWhatRunsOnAClosedConnectionOfACompanionIsCancelled(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, server := bounded(t), newInspector(t, dsn)
	c := newCompanion(t, newPoolAt(t, dsn, &pool.Config{MaxConns: 3, FleetBudget: -1}), 1)
	own := must(c.Acquire(ctx))(t).Hijack()
	own.PgConn().Frontend().SendQuery(&pgproto3.Query{String: "select pg_sleep(60)"})
	require.NoError(t, own.PgConn().Frontend().Flush())
	eventually(t, "it sleeps", func() bool { return server.running("%pg_sleep(60)%") == 1 })
	require.NoError(t, own.Close(ctx))
	eventually(t, "the server has stopped it", func() bool { return server.running("%pg_sleep(60)%") == 0 })
	require.NoError(t, c.Ping(ctx))
}

// Whatever is done with a companion, the server never has more than MaxConns.
func TestStormOfACompanion(t *testing.T) {
	t.Parallel()
	seed := envSeed(t)
	dsn := pgtest.Database(t)
	server := newInspector(t, dsn)
	const most = 4
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: most, MaxConnLifetime: 200 * time.Millisecond, HealthCheckPeriod: 10 * time.Millisecond, Logger: (&logs{}).logger()})
	var c atomic.Pointer[pgxpool.Pool]
	c.Store(newCompanion(t, p, 2))
	sampled := server.neverMore(most)
	var done atomic.Int64
	together(32, func(g int) {
		r := rand.New(rand.NewPCG(seed, uint64(g)))
		for range 20 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(200))*time.Millisecond)
			if g%2 == 0 {
				inv, scope := p.OpenScope(ctx, fmt.Sprint(g), time.Time{})
				_ = randomUse(inv, p, r)
				scope.End()
			} else if useCompanion(ctx, c.Load(), r) == nil {
				done.Add(1)
			}
			if g == 1 && r.IntN(8) == 0 {
				c.Load().Close()
				c.Store(must(p.Companion(1 + r.Int32N(2)))(t))
			}
			if g == 3 && r.IntN(8) == 0 {
				p.Reset()
			}
			cancel()
		}
	})
	samples, peak := sampled()
	t.Log("seed", seed, "samples", samples, "most backends", peak, "uses of the companion", done.Load())
	assert.NotZero(t, done.Load())
	c.Load().Close()
	eventually(t, "everything came back", func() bool {
		used, kept := p.Places()
		s := p.Stat()
		return used+kept == 0 && s.AcquiredConns() == 0 && s.ConstructingConns() == 0 && s.TotalConns() == s.IdleConns()
	})
	assert.NoError(t, p.Ping(bounded(t)))
}

// useCompanion uses a companion as libraries do, and badly.
func useCompanion(ctx context.Context, c *pgxpool.Pool, r *rand.Rand) error {
	sleep := fmt.Sprintf("select pg_sleep(%f)", r.Float64()*0.01)
	if r.IntN(3) == 0 {
		_, err := c.Exec(ctx, sleep)
		return err
	}
	l, err := c.Acquire(ctx)
	if err != nil {
		return err
	}
	switch r.IntN(5) {
	case 0: // the server still runs it when the connection is closed
		own := l.Hijack()
		own.PgConn().Frontend().SendQuery(&pgproto3.Query{String: "select pg_sleep(0.05)"})
		err = own.PgConn().Frontend().Flush()
		_ = own.Close(context.Background())
	case 3:
		defer l.Release()
		_, err = l.Exec(ctx, "begin")
	case 1: // the result is not read
		defer l.Release()
		_, err = l.Query(ctx, "select pg_sleep(0.02), repeat('x', 1000) from generate_series(1, 1000)")
	case 2:
		own := l.Hijack()
		_, err = own.Exec(ctx, sleep)
		_ = own.Close(context.Background())
	default:
		defer l.Release()
		_, err = l.Exec(ctx, sleep)
	}
	return err
}
