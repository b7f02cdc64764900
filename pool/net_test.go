package pool_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/netfault"
)

// newProxy is a proxy for the server of dsn. A test that stalls it closes it itself,
// before the pool is closed: what it holds back would hold the test's end up.
func newProxy(t testing.TB, dsn string) *netfault.Proxy {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	network, addr := pgconn.NetworkAddress(c.Host, c.Port)
	require.Equal(t, "tcp", network)
	proxy, err := netfault.Listen(addr)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	return proxy
}

// through is a BeforeConnect that has the connections dialed through the proxy.
func through(proxy *netfault.Proxy) func(context.Context, *pgx.ConnConfig) error {
	return func(_ context.Context, c *pgx.ConnConfig) error {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dial(ctx, network, proxy.Addr())
		}
		return nil
	}
}

// wrapped is a BeforeConnect that gives each connection's socket to wrap.
func wrapped(wrap func(*net.TCPConn) net.Conn) func(context.Context, *pgx.ConnConfig) error {
	return func(_ context.Context, c *pgx.ConnConfig) error {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return wrap(nc.(*net.TCPConn)), nil
		}
		return nil
	}
}

// running is how many others run a statement that is like pattern.
func (i *inspector) running(pattern string) (n int) {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	err := i.c.QueryRow(context.Background(), `select count(*) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid() and state = 'active' and query like $1
		and (query not like '%pg_sleep%' or wait_event = 'PgSleep')`, pattern).Scan(&n) // not while it is prepared
	require.NoError(i.t, err)
	return n
}

// rowsThenSleep is a result that begins at once and takes 30 s. The rows are as many
// and as long as it takes for the server to send one: without, Query itself waits.
const rowsThenSleep = "select repeat('x', 10000) from generate_series(1, 5) union all select pg_sleep(30)::text"

// pid is the server process of the connection that q gets, or is.
func pid(t testing.TB, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
},
) (pid int) {
	t.Helper()
	require.NoError(t, q.QueryRow(bounded(t), "select pg_backend_pid()").Scan(&pid))
	return pid
}

// ends waits for what must come soon, though not for ever.
func ends[T any](t testing.TB, what string, done <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-done:
	case <-time.After(30 * time.Second):
		require.Fail(t, "it takes too long: "+what)
	}
	return v
}
