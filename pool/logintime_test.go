package pool_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// atAWS is dsn's database behind proxy, by the name of an instance at AWS.
func atAWS(t *testing.T, dsn string, proxy *netfault.Proxy, wrap func(net.Conn) net.Conn) (string, func(context.Context, *pgx.ConnConfig) error) {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	return "postgres://" + c.User + "@db.c0ffee.eu-west-1.rds.amazonaws.com/" + c.Database + "?sslmode=disable", func(_ context.Context, c *pgx.ConnConfig) error {
		c.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
		c.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, proxy.Addr())
			if err == nil && wrap != nil {
				nc = wrap(nc)
			}
			return nc, err
		}
		return nil
	}
}

// A server that has paused accepts connections and says nothing until it runs again. It is waited for, at first use as later.
func TestAServerThatHasPausedIsWaitedFor(t *testing.T) {
	t.Parallel()
	for n, later := range map[int]bool{1: false, 4: false, 3: true} {
		dsn := pgtest.Database(t)
		see := newInspector(t, dsn)
		proxy := newProxy(t, dsn)
		at, before := atAWS(t, dsn, proxy, nil)
		log := &logs{}
		p := newPoolAt(t, at, &pool.Config{MaxConns: 2, BeforeConnect: before, Logger: log.logger()})
		if later {
			require.NoError(t, p.Ping(bounded(t)))
			see.exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
		}
		proxy.Stall(true)
		done := make(chan error, n)
		for range n {
			go func() { done <- second(p.Exec(bounded(t), "select 1")) }()
		}
		require.Eventually(t, func() bool { return p.Stat().Dials().Failed >= 1 }, 15*time.Second, 5*time.Millisecond, "a try fails")
		assert.EqualValues(t, n, p.Stat().Queued(), "and nobody is told: later %t", later)
		proxy.Stall(false)
		for range n {
			require.NoError(t, ends(t, "the wait", done), "later %t", later)
		}
		p.Close()
		t.Log(strings.Join(log.lines(), "\n"))
	}
}

// One that never says anything is in the error of a caller whose time is over.
func TestAServerThatIsSilentIsInTheErrorOfWhoWaited(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	proxy := newProxy(t, dsn)
	defer proxy.Close()
	at, before := atAWS(t, dsn, proxy, nil)
	p := newPoolAt(t, at, &pool.Config{MaxConns: 2, BeforeConnect: before, Logger: (&logs{}).logger()})
	proxy.Stall(true)
	ctx, cancel := context.WithTimeout(context.Background(), 3500*time.Millisecond)
	defer cancel()
	err := second(p.Exec(ctx, "select 1"))
	t.Log(err)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, pool.ErrServerAway)
	require.ErrorContains(t, err, "accepts connections and has let nobody log in within 2s (the next try may take 4s)")
	assert.True(t, pool.Retryable(err))
	assert.False(t, pool.Misconfigured(err))
}

// slowLogin delays the first answer on each connection.
type slowLogin struct {
	net.Conn
	once sync.Once
	by   time.Duration
}

func (c *slowLogin) Read(b []byte) (int, error) {
	c.once.Do(func() { time.Sleep(c.by) }) // the server is slow
	return c.Conn.Read(b)
}

// A server whose every login takes longer than the first try has is reached, and then the next connections at their first try.
func TestALoginThatTakesLongerThanTheFirstTryHasIsReached(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	proxy := newProxy(t, dsn)
	var dials atomic.Int32
	at, before := atAWS(t, dsn, proxy, func(nc net.Conn) net.Conn {
		dials.Add(1)
		return &slowLogin{Conn: nc, by: 2500 * time.Millisecond}
	})
	p := newPoolAt(t, at, &pool.Config{MaxConns: 1, BeforeConnect: before, Logger: (&logs{}).logger(), Isolation: pool.Off, Lanes: pool.Off})
	require.NoError(t, p.Ping(bounded(t)))
	failed := p.Stat().Dials().Failed
	assert.Positive(t, failed)
	for range 2 {
		newInspector(t, dsn).exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
		require.NoError(t, p.Ping(bounded(t)))
	}
	t.Logf("%d dials, of which %d failed at first", dials.Load(), failed)
	assert.Equal(t, failed, p.Stat().Dials().Failed, "a slow login is not tried in vain again")
}

// The TCP part stays short, however long logins may take: a machine that is gone says nothing.
func TestATCPConnectStaysShort(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	proxy := newProxy(t, dsn)
	at, before := atAWS(t, dsn, proxy, func(nc net.Conn) net.Conn { return &slowLogin{Conn: nc, by: 1500 * time.Millisecond} })
	var gone atomic.Bool
	bounds := make(chan time.Duration, 100)
	p := newPoolAt(t, at, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger(), BeforeConnect: func(ctx context.Context, c *pgx.ConnConfig) error {
		_ = before(ctx, c)
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if !gone.Load() {
				return dial(ctx, network, addr)
			}
			until, _ := ctx.Deadline()
			bounds <- time.Until(until)
			return nil, context.DeadlineExceeded
		}
		return nil
	}})
	require.NoError(t, p.Ping(bounded(t))) // 1.5 s: the next login may take 4
	gone.Store(true)
	newInspector(t, dsn).exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	done := make(chan error)
	go func() { done <- p.Ping(bounded(t)) }()
	for range 5 {
		assert.LessOrEqual(t, ends(t, "a dial", bounds), 2*time.Second)
	}
	gone.Store(false)
	require.NoError(t, ends(t, "the wait", done))
}
