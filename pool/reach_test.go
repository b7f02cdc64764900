package pool_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// warnings are the log's lines that say what is upstream.
func (l *logs) warnings() (pooler, shared int) {
	for _, line := range l.lines() {
		if strings.Contains(line, "there is a pooler") && strings.Contains(line, "LMIPOOL_UPSTREAM") {
			pooler++
		}
		if strings.Contains(line, "Isolation is off from now on") {
			shared++
		}
	}
	return pooler, shared
}

// touch leaves a setting in a session, and look reads it in another lease.
func touch(ctx context.Context, t testing.TB, p *pool.Pool) {
	t.Helper()
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	defer l.Release()
	_, err = l.Exec(ctx, "set work_mem = '5MB'")
	require.NoError(t, err)
}

func workMem(ctx context.Context, t testing.TB, p interface {
	QueryRow(context.Context, string, ...any) pgx.Row
},
) (s string) {
	t.Helper()
	require.NoError(t, p.QueryRow(ctx, "show work_mem").Scan(&s))
	return s
}

func TestAPoolerInSessionModeIsRecognisedAndIsolationStaysOn(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPoolAt(t, bouncer(t, pgtest.Database(t), "pool_mode = session", "default_pool_size = 2"), &pool.Config{MaxConns: 2, Logger: log.logger()})
	ctx := bounded(t)
	work(ctx, t, p)
	was := workMem(ctx, t, p)
	for range 10 {
		touch(ctx, t, p)
		assert.Equal(t, was, workMem(ctx, t, p))
	}
	assert.Equal(t, pool.UpstreamPgBouncer, p.Upstream())
	pooler, shared := log.warnings()
	assert.Equal(t, 1, pooler, "%q", log.lines())
	assert.Zero(t, shared)
	assert.Zero(t, p.Stat().Invocations().Resets, "nothing is reset in a session that may be somebody else's")
}

// One server session, which all clients get in turns, and settings that none of them may lose.
func TestNothingIsDoneToSessionsThatMayBeShared(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	log := &logs{}
	via := bouncer(t, dsn, "default_pool_size = 1")
	stranger, err := pgx.Connect(bounded(t), via+"&default_query_exec_mode=exec")
	require.NoError(t, err)
	defer stranger.Close(context.Background())
	ctx := bounded(t)
	_, err = stranger.Exec(ctx, "set work_mem = '7MB'")
	require.NoError(t, err)
	_, err = stranger.Exec(ctx, "set statement_timeout = '9s'")
	require.NoError(t, err)
	_, err = stranger.Exec(ctx, "select pg_advisory_lock(7)")
	require.NoError(t, err)
	session := func() (s string) {
		require.NoError(t, stranger.QueryRow(ctx, `select concat_ws(' ', current_setting('work_mem'), current_setting('statement_timeout'), current_setting('lock_timeout'),
			current_setting('default_transaction_read_only'), current_setting('exit_on_error'), (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
			(select string_agg(name, ',') from pg_prepared_statements))`).Scan(&s))
		return s
	}
	before := session()
	p := newPoolAt(t, via, &pool.Config{MaxConns: 1, Logger: log.logger()})
	_, err = p.Exec(ctx, "create function whatever(int) returns int language sql as 'select $1'")
	require.NoError(t, err)
	tenant := p.With(map[string]string{"app.tenant": "1"})
	for i := range 20 {
		var n int
		require.NoError(t, p.QueryRow(ctx, "select whatever($1)", i).Scan(&n)) // may have left anything
		assert.Equal(t, i, n)
		require.NoError(t, p.QueryRow(ctx, "select $1::int", i).Scan(&n))
		require.NoError(t, tenant.QueryRow(ctx, "select current_setting('app.tenant')::int + $1::int", i).Scan(&n))
		assert.Equal(t, i+1, n)
		together(8, func(i int) {
			var n int
			assert.NoError(t, p.QueryRow(ctx, "select 1 + $1::int", i).Scan(&n))
			assert.Equal(t, i+1, n)
		})
		assert.Equal(t, before, session())
	}
	pooler, _ := log.warnings()
	assert.Equal(t, 1, pooler)
	assert.Zero(t, p.Stat().Invocations().Resets)
}

// Two connections of the pool that one process has answered; and a connection that two have answered.
func TestSharingIsProved(t *testing.T) {
	t.Parallel()
	t.Run("one process, two connections", func(t *testing.T) {
		t.Parallel()
		log := &logs{}
		p := newPoolAt(t, bouncer(t, pgtest.Database(t), "default_pool_size = 1"), &pool.Config{MaxConns: 2, MinConns: 2, Logger: log.logger()})
		ctx := bounded(t)
		require.NoError(t, p.Warm(ctx))
		eventually(t, "both are there", func() bool { return p.Stat().TotalConns() == 2 })
		eventually(t, "it is proved", func() bool {
			a, err := p.Acquire(ctx)
			require.NoError(t, err)
			b, err := p.Acquire(ctx)
			require.NoError(t, err)
			require.NoError(t, a.Ping(ctx))
			a.Release()
			b.Release()
			_, shared := log.warnings()
			return shared == 1
		})
		assert.Contains(t, strings.Join(log.lines(), "\n"), "one server process has answered two connections")
		touch(ctx, t, p)
		assert.Equal(t, "5MB", workMem(ctx, t, p), "it is not the pool's to mend")
	})
	t.Run("one connection, two processes", func(t *testing.T) {
		t.Parallel()
		log := &logs{}
		via := bouncer(t, pgtest.Database(t), "default_pool_size = 2")
		p := newPoolAt(t, via, &pool.Config{MaxConns: 1, Logger: log.logger()})
		ctx := bounded(t)
		others := make([]*pgx.Conn, 2)
		for i := range others {
			var err error
			others[i], err = pgx.Connect(ctx, via+"&default_query_exec_mode=exec")
			require.NoError(t, err)
			defer others[i].Close(context.Background())
		}
		begin := func(i int) pgx.Tx {
			tx, err := others[i%2].Begin(ctx)
			require.NoError(t, err)
			return tx
		}
		holds := begin(0)
		turn := 0
		eventually(t, "it is proved", func() bool {
			require.NoError(t, p.Ping(ctx)) // in the session that is free
			turn++
			next := begin(turn) // takes that
			require.NoError(t, holds.Rollback(ctx))
			holds = next
			_, shared := log.warnings()
			return shared == 1
		})
		require.NoError(t, holds.Rollback(ctx))
		assert.Contains(t, strings.Join(log.lines(), "\n"), "two transactions of one connection")
	})
	t.Run("a name that was there", func(t *testing.T) {
		t.Parallel()
		log := &logs{}
		via := bouncer(t, pgtest.Database(t), "default_pool_size = 1") + "&default_query_exec_mode=cache_statement"
		p := newPoolAt(t, via, &pool.Config{MaxConns: 1, Logger: log.logger()})
		ctx := bounded(t)
		stranger, err := pgx.Connect(ctx, via)
		require.NoError(t, err)
		defer stranger.Close(context.Background())
		var n int
		require.NoError(t, stranger.QueryRow(ctx, "select 40 + $1::int", 2).Scan(&n))
		err = p.QueryRow(ctx, "select 40 + $1::int", 2).Scan(&n)
		assert.ErrorContains(t, err, "42P05", "as pgx's own")
		_, shared := log.warnings()
		assert.Equal(t, 1, shared)
	})
}

func TestAnExplicitUpstreamWins(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPoolAt(t, bouncer(t, pgtest.Database(t), "pool_mode = session"), &pool.Config{Upstream: pool.UpstreamDirect, MaxConns: 1, Logger: log.logger()})
	ctx := bounded(t)
	was := workMem(ctx, t, p)
	touch(ctx, t, p)
	assert.Equal(t, was, workMem(ctx, t, p))
	assert.EqualValues(t, 1, p.Stat().Invocations().Resets)
	assert.EqualValues(t, 1, p.Stat().NewConnsCount())
	assert.Equal(t, pool.UpstreamDirect, p.Upstream())
	assert.Empty(t, log.lines())
}

// What is upstream may change with each connection.
func TestAFailoverToAPoolerAndBack(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	direct := newProxy(t, dsn)
	pooled := newProxy(t, bouncer(t, dsn, "default_pool_size = 2"))
	var to atomic.Pointer[string]
	lead := func(addr string) { to.Store(&addr) }
	log := &logs{}
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: log.logger(), BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, *to.Load()) }
		return nil
	}})
	ctx := bounded(t)
	prepared := func() (names []string) {
		require.NoError(t, p.QueryRow(ctx, "select coalesce(array_agg(name order by name), '{}') from pg_prepared_statements").Scan(&names))
		return names
	}
	lead(direct.Addr())
	assert.Contains(t, prepared(), "lmipool_witness", "a TCP proxy is no pooler")
	assert.Equal(t, pool.UpstreamDirect, p.Upstream())
	pooler, _ := log.warnings()
	assert.Zero(t, pooler)
	lead(pooled.Addr())
	direct.Cut()
	assert.Empty(t, prepared())
	pooler, _ = log.warnings()
	assert.Equal(t, 1, pooler)
	lead(direct.Addr())
	pooled.Cut()
	names := prepared()
	assert.Contains(t, names, "lmipool_witness")
	assert.True(t, slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "stmtcache_") }), "%q", names)
	pooler, _ = log.warnings()
	assert.Equal(t, 1, pooler, "it is said once")
}

// countedFlights counts how often the client has written since the server last answered.
type countedFlights struct {
	net.Conn
	n    *atomic.Int64
	said bool
}

func (c *countedFlights) Write(b []byte) (int, error) {
	if !c.said {
		c.n.Add(1)
	}
	c.said = true
	return c.Conn.Write(b)
}

func (c *countedFlights) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.said = c.said && n == 0
	return n, err
}

// Asking costs no round trip: the first answer comes as soon as where nobody asks.
func TestRecognitionCostsNoRoundTrip(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	flights := func(up pool.Upstream, after func(context.Context, *pgx.Conn) error) int64 {
		var n atomic.Int64
		p := newPoolAt(t, dsn, &pool.Config{
			Upstream: up, MaxConns: 1, Lanes: pool.Off, AfterConnect: after,
			BeforeConnect: wrapped(func(c *net.TCPConn) net.Conn { return &countedFlights{Conn: c, n: &n} }),
		})
		var one int
		require.NoError(t, p.QueryRow(bounded(t), "select $1::int", 1).Scan(&one))
		return n.Load()
	}
	direct := flights(pool.UpstreamDirect, nil)
	for range 4 {
		direct = min(direct, flights(pool.UpstreamDirect, nil))
	}
	assert.EqualValues(t, 4, direct, "login, what the session is like, Parse, Execute")
	least := flights(pool.UpstreamAuto, nil) // what is asked about names, after the statement, may be among them
	for range 4 {
		least = min(least, flights(pool.UpstreamAuto, nil))
	}
	assert.EqualValues(t, 4, least)
	set := func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "set work_mem = '6MB'")
		return err
	}
	least = flights(pool.UpstreamAuto, set)
	for range 4 {
		least = min(least, flights(pool.UpstreamAuto, set))
	}
	assert.EqualValues(t, 6, least, "as many as before it was asked; the two about the session are one now")
}

// In describe_exec mode pgx executes, in a flight of its own, the unnamed statement that the flight before has
// prepared: what With sets in between must not be in its place.
func TestWithBehindAPoolerLeavesPgxsUnnamedStatementAlone(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.Config{Upstream: pool.UpstreamPgBouncer, MaxConns: 1})
	ctx := bounded(t)
	b := p.With(map[string]string{"app.tenant": "me"})
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeDescribeExec, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec, pgx.QueryExecModeCacheStatement} {
		for range 2 {
			var s string
			require.NoError(t, b.QueryRow(ctx, "select current_setting('app.tenant') || $1::text", mode, "!").Scan(&s), mode)
			assert.Equal(t, "me!", s, mode)
		}
	}
}
