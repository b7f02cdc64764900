package pool_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// awayLab is a pool whose server is behind a proxy, and has been used.
type awayLab struct {
	p     *pool.Pool
	proxy *netfault.Proxy
	see   *inspector
	log   *logs
}

func newAwayLab(t testing.TB, c *pool.Config) *awayLab {
	t.Helper()
	dsn := pgtest.Database(t)
	b := &awayLab{see: newInspector(t, dsn), proxy: newProxy(t, dsn), log: &logs{}}
	b.see.exec("create table t (id int primary key)")
	if c == nil {
		c = &pool.Config{}
	}
	c.Logger = b.log.logger()
	if c.BeforeConnect == nil {
		c.BeforeConnect = through(b.proxy)
	}
	b.p = newPoolAt(t, dsn, c)
	t.Cleanup(func() { b.proxy.Close() }) // before the pool is: it may be stalled
	require.NoError(t, b.p.Ping(bounded(t)))
	return b
}

// pids are the backends of n connections at once.
func (b *awayLab) pids(t testing.TB, n int) (pids []int) {
	t.Helper()
	var leases []*pool.Lease
	for range n {
		l, err := b.p.Acquire(bounded(t))
		require.NoError(t, err)
		leases = append(leases, l)
		pids = append(pids, pid(t, l))
	}
	for _, l := range leases {
		l.Release()
	}
	return pids
}

// open makes n connections idle.
func (b *awayLab) open(t testing.TB, n int) {
	t.Helper()
	b.pids(t, n)
	eventually(t, "they are idle", func() bool { return b.p.Stat().IdleConns() == int32(n) })
}

// What a server that restarts leaves behind are sockets with nobody at the other end.
func TestAWriteIsNotSentIntoADeadSocket(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(*netfault.Proxy){"FIN": (*netfault.Proxy).Cut, "RST": (*netfault.Proxy).Reset} {
		b := newAwayLab(t, &pool.Config{MaxConns: 4})
		b.open(t, 4)
		end(b.proxy)
		eventually(t, "they are dead", func() bool { return b.proxy.Conns() == 0 })
		time.Sleep(5 * time.Millisecond) // until our side of the sockets knows it, of which there is no other sign
		together(8, func(i int) {
			_, err := b.p.Exec(bounded(t), "insert into t values ($1)", i)
			assert.NoError(t, err, what)
		})
		assert.Equal(t, 8, b.see.count("select count(*) from t"), what)
		assert.Zero(t, b.p.Stat().Dials().Failovers)
	}
}

// opaque is a connection that cannot be looked at without a round trip. It sends nothing while it is mute.
type opaque struct {
	net.Conn
	mute *atomic.Bool
}

func (c opaque) Write(b []byte) (int, error) {
	if c.mute != nil && c.mute.CompareAndSwap(true, false) {
		return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
	}
	return c.Conn.Write(b)
}

func TestAfterALossTheOthersAreLookedAtFirst(t *testing.T) {
	t.Parallel()
	var proxy atomic.Pointer[netfault.Proxy]
	b := newAwayLab(t, &pool.Config{MaxConns: 4, BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if p := proxy.Load(); p != nil {
				addr = p.Addr()
			}
			nc, err := dial(ctx, network, addr)
			return opaque{Conn: nc}, err
		}
		return nil
	}})
	proxy.Store(b.proxy)
	b.see.exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	_ = b.p.Ping(bounded(t)) // the first was dialed before there was a proxy
	const write = "insert into t values ($1)"
	var leases []*pool.Lease
	for i := range 4 { // each has it prepared, so that it would be sent at once
		l, err := b.p.Acquire(bounded(t))
		require.NoError(t, err)
		leases = append(leases, l)
		_, err = l.Exec(bounded(t), write, -1-i)
		require.NoError(t, err)
	}
	for _, l := range leases {
		l.Release()
	}
	eventually(t, "they are idle", func() bool { return b.p.Stat().IdleConns() == 4 })
	b.proxy.Cut() // not Reset, after which nothing can be sent
	failed := 0
	for i := range 12 {
		if _, err := b.p.Exec(bounded(t), write, i); err != nil {
			failed++
		}
	}
	assert.LessOrEqual(t, failed, 1, "the first finds out")
	assert.Equal(t, 12-failed, b.see.count("select count(*) from t where id >= 0"))
}

func TestAStatementThatCouldNotBeWrittenRunsElsewhere(t *testing.T) {
	t.Parallel()
	b, mute := newMuteLab(t)
	id := 0
	for what, do := range map[string]func(ctx context.Context) error{
		"Exec": func(ctx context.Context) error { _, err := b.p.Exec(ctx, "insert into t values ($1)", id); return err },
		"simple": func(ctx context.Context) error {
			_, err := b.p.Exec(ctx, "insert into t values ("+strconv.Itoa(id)+")")
			return err
		},
		"QueryRow": func(ctx context.Context) error {
			return b.p.QueryRow(ctx, "insert into t values ($1) returning id", id).Scan(new(int))
		},
		"Begin": func(ctx context.Context) error {
			tx, err := b.p.Begin(ctx)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, "insert into t values ($1)", id)
			return errors.Join(err, tx.Commit(ctx))
		},
	} {
		for range 2 { // unprepared, and prepared
			id++
			opened := b.p.Stat().NewConnsCount()
			mute.Store(true)
			require.NoError(t, do(bounded(t)), what)
			assert.False(t, mute.Load(), what)
			assert.Equal(t, opened+1, b.p.Stat().NewConnsCount(), what)
			id++
			require.NoError(t, do(bounded(t)), what)
		}
	}
	for what, do := range map[string]func(ctx context.Context) error{ // whose result is their caller's by then
		"Query": func(ctx context.Context) error {
			r, err := b.p.Query(ctx, "insert into t values ($1) returning id", id)
			if err != nil {
				return err
			}
			_, err = pgx.CollectOneRow(r, pgx.RowTo[int])
			return err
		},
		"batch": func(ctx context.Context) error {
			q := &pgx.Batch{}
			q.Queue("insert into t values (@id)", pgx.NamedArgs{"id": id})
			return b.p.SendBatch(ctx, q).Close()
		},
	} {
		for range 2 { // unprepared, and prepared
			id++
			eventually(t, "nothing is asked about the catalogs", func() bool { return b.p.Stat().IdleConns() == 1 })
			mute.Store(true)
			err := do(bounded(t))
			require.Error(t, err, what)
			assert.True(t, pool.Retryable(err), "%s: %v", what, err)
			assert.False(t, mute.Load(), what)
			require.NoError(t, do(bounded(t)), what)
		}
	}
	assert.Equal(t, id, b.see.count("select count(*) from t"))
}

func TestOneTerminatedBackendIsNotTheOthers(t *testing.T) {
	t.Parallel()
	b := newAwayLab(t, &pool.Config{MaxConns: 4})
	b.open(t, 4)
	before := b.pids(t, 4)
	b.see.exec("select pg_terminate_backend(" + strconv.Itoa(before[1]) + ", 5000)")
	after := b.pids(t, 4)
	kept := 0
	for _, pid := range after {
		if slices.Contains(before, pid) {
			kept++
		}
	}
	assert.Equal(t, 3, kept, "%d became %d", before, after)
}

func TestWhoWaitsForAServerThatRestartsWaits(t *testing.T) {
	t.Parallel()
	b := newAwayLab(t, &pool.Config{MaxConns: 2})
	require.NoError(t, b.proxy.Refuse(true))
	b.proxy.Reset()
	done := make(chan error)
	for i := range 16 {
		go func() {
			_, err := b.p.Exec(bounded(t), "insert into t values ($1)", i)
			done <- err
		}()
	}
	eventually(t, "all wait, and it is dialed again and again", func() bool { return b.p.Stat().Dials().Failed >= 4 && b.p.Stat().Queued() == 16 })
	err := inTime(t, 50*time.Millisecond, is(pool.ErrServerAway), func(ctx context.Context) error { return second(b.p.Exec(ctx, "select 1")) })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, pool.ErrServerAway)
	assert.True(t, pool.Retryable(err))
	t.Log(err)
	require.NoError(t, b.proxy.Refuse(false))
	for range 16 {
		require.NoError(t, ends(t, "the wait", done))
	}
	lines := b.log.lines()
	require.Len(t, lines, 2)
	assert.Contains(t, lines[0], "dial failed")
	assert.Contains(t, lines[1], "the server is back after_ms=")
}

func TestWhoHasNoDeadlineDoesNotWaitForEverForAServerThatIsAway(t *testing.T) {
	t.Parallel()
	b := newAwayLab(t, &pool.Config{MaxConns: 2, ConnectTimeout: 200 * time.Millisecond})
	require.NoError(t, b.proxy.Refuse(true))
	b.proxy.Reset()
	began := time.Now()
	done := make(chan error)
	go func() { _, err := b.p.Exec(context.Background(), "select 1"); done <- err }()
	err := ends(t, "the wait", done)
	require.ErrorIs(t, err, pool.ErrServerAway)
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
	assert.GreaterOrEqual(t, time.Since(began), 600*time.Millisecond)
}

func TestAPoolThatNeverHadAConnectionSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	l.Close()
	for _, host := range []string{addr, "nowhere.invalid:5432"} {
		p := newPoolAt(t, "postgres://u@"+host+"/d?sslmode=disable", &pool.Config{Logger: (&logs{}).logger()})
		done := make(chan error)
		go func() { done <- p.Ping(context.Background()) }()
		err := ends(t, host, done)
		require.Error(t, err)
		assert.NotErrorIs(t, err, pool.ErrServerAway)
	}
}

// What only the user can mend is his error at once, also when the server was away just before.
func TestAWrongPasswordIsNotWaitedOut(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	var database atomic.Pointer[string]
	c, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	database.Store(&c.Database)
	proxy := newProxy(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{Logger: (&logs{}).logger(), BeforeConnect: func(ctx context.Context, c *pgx.ConnConfig) error {
		c.Database = *database.Load()
		return through(proxy)(ctx, c)
	}})
	require.NoError(t, p.Ping(bounded(t)))
	require.NoError(t, proxy.Refuse(true))
	proxy.Reset()
	done := make(chan error)
	go func() { done <- p.Ping(context.Background()) }()
	eventually(t, "it is away", func() bool { return p.Stat().Dials().Failed >= 2 })
	none := "no_such_database"
	database.Store(&none)
	require.NoError(t, proxy.Refuse(false))
	err = ends(t, "the wait", done)
	var pg *pgconn.PgError
	require.ErrorAs(t, err, &pg)
	assert.Equal(t, "3D000", pg.Code)
	assert.NotErrorIs(t, err, pool.ErrServerAway)
}

// A machine that is gone says nothing, for as long as it is asked.
func TestADialToAMachineThatIsGoneIsShort(t *testing.T) {
	t.Parallel()
	var gone atomic.Bool
	took := make(chan time.Duration, 100)
	b := newAwayLab(t, &pool.Config{MaxConns: 2, BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if !gone.Load() {
				return dial(ctx, network, addr)
			}
			began := time.Now()
			<-ctx.Done()
			took <- time.Since(began)
			return nil, ctx.Err()
		}
		return nil
	}})
	gone.Store(true)
	b.see.exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	done := make(chan error)
	go func() { done <- b.p.Ping(bounded(t)) }()
	assert.Less(t, ends(t, "a dial", took), 5*time.Second, "and not the 10 s of ConnectTimeout")
	gone.Store(false)
	require.NoError(t, ends(t, "the wait", done))
}

func TestAReadThatWasLostRunsAgainAndAWriteDoesNot(t *testing.T) {
	t.Parallel()
	b := newAwayLab(t, &pool.Config{MaxConns: 1})
	const read, write = "select $1::int + 1", "insert into t values ($1) on conflict do nothing"
	for i := range 3 { // it is known by then
		require.NoError(t, b.p.QueryRow(bounded(t), read, i).Scan(new(int)))
		_, err := b.p.Exec(bounded(t), write, i)
		require.NoError(t, err)
	}
	lose := func(do func(ctx context.Context) error) error {
		t.Helper()
		require.NoError(t, do(bounded(t))) // it has a connection that was heard from, and is prepared
		eventually(t, "nothing is asked about the catalogs", func() bool { return b.p.Stat().IdleConns() == 1 })
		b.proxy.Stall(true)
		done := make(chan error)
		sent := b.p.Stat().AcquireCount()
		go func() { done <- do(bounded(t)) }()
		eventually(t, "it is sent", func() bool { return b.p.Stat().AcquireCount() > sent })
		time.Sleep(20 * time.Millisecond) // and under way, of which there is no sign
		b.proxy.Reset()
		b.proxy.Stall(false)
		return ends(t, "what was lost", done)
	}
	for what, do := range map[string]func(context.Context) error{
		"QueryRow": func(ctx context.Context) error { return b.p.QueryRow(ctx, read, 1).Scan(new(int)) },
		"Exec":     func(ctx context.Context) error { _, err := b.p.Exec(ctx, read, 1); return err },
		"Begin": func(ctx context.Context) error {
			tx, err := b.p.Begin(ctx)
			if err != nil {
				return err
			}
			return tx.Rollback(ctx)
		},
	} {
		require.NoError(t, lose(do), what)
	}
	err := lose(func(ctx context.Context) error {
		r, err := b.p.Query(ctx, read, 1)
		if err != nil {
			return err
		}
		_, err = pgx.CollectOneRow(r, pgx.RowTo[int])
		return err
	})
	require.Error(t, err, "its Rows are its caller's by then")
	assert.True(t, pool.Retryable(err), "%v", err)
	err = lose(func(ctx context.Context) error { _, err := b.p.Exec(ctx, write, 100); return err })
	require.Error(t, err)
	assert.True(t, pool.OutcomeUnknown(err), "%v", err)
	err = lose(func(ctx context.Context) error {
		return b.p.QueryRow(pool.Alone(ctx), read, 1).Scan(new(int))
	})
	require.Error(t, err, "who wants it alone has his reasons")
}

// As long as no COMMIT was sent nothing has happened.
func TestATransactionThatWasLostRunsAgainIfItMay(t *testing.T) {
	t.Parallel()
	b := newAwayLab(t, &pool.Config{MaxConns: 1})
	runsAgain(t, b.p, b.see, 2, func(ctx context.Context, tx pgx.Tx, call int) error {
		if call == 1 {
			b.proxy.Reset()
		}
		_, err := tx.Exec(ctx, "update t set id = id")
		return err
	})
}

// runsAgain checks that a transaction whose first try is lost is an error that may be retried, and
// runs once more with so many retries. It inserts into t, and then does lost.
func runsAgain(t *testing.T, p *pool.Pool, see *inspector, retries int, lost func(ctx context.Context, tx pgx.Tx, call int) error) {
	t.Helper()
	run := func(retries int) (calls int, err error) {
		err = pool.InTx(bounded(t), p, pool.TxOptions{MaxRetries: retries}, func(ctx context.Context, tx pgx.Tx) error {
			calls++
			if _, err := tx.Exec(ctx, "insert into t values ($1)", retries); err != nil {
				return err
			}
			return lost(ctx, tx, calls)
		})
		return calls, err
	}
	calls, err := run(0)
	require.Error(t, err)
	assert.Equal(t, 1, calls)
	assert.True(t, pool.Retryable(err), "%v", err)
	calls, err = run(retries)
	require.NoError(t, err)
	assert.Equal(t, 2, calls)
	assert.Equal(t, 1, see.count("select count(*) from t"))
}
