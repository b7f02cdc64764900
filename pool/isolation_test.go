package pool_test

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// tap writes down what a pool's connections send: a string for each packet, a letter for
// each message in it.
type tap struct {
	mu      sync.Mutex
	packets []string
}

func (t *tap) config(c pool.Config) *pool.Config {
	c.BeforeConnect = wrapped(func(nc *net.TCPConn) net.Conn { return &tapped{Conn: nc, tap: t} })
	return &c
}

// reset forgets what was sent.
func (t *tap) reset() { t.since() }

// since returns what was sent since the last call.
func (t *tap) since() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.packets
	t.packets = nil
	return p
}

type tapped struct {
	net.Conn
	tap     *tap
	started bool
}

func (c *tapped) Write(b []byte) (int, error) {
	if !c.started { // the startup message has no letter
		c.started = true
		return c.Conn.Write(b)
	}
	var kinds []byte
	for rest := b; len(rest) >= 5; {
		kinds = append(kinds, rest[0])
		n := 1 + int(binary.BigEndian.Uint32(rest[1:]))
		rest = rest[min(n, len(rest)):]
	}
	c.tap.mu.Lock()
	c.tap.packets = append(c.tap.packets, string(kinds))
	c.tap.mu.Unlock()
	return c.Conn.Write(b)
}

// leaving has a lease run sql, and somebody wait for its connection who then runs next.
func leaving(t *testing.T, ctx context.Context, p *pool.Pool, tp *tap, sql string, next func()) (sent []string) {
	t.Helper()
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	_, err = l.Exec(ctx, sql)
	require.NoError(t, err)
	tp.reset()
	done := make(chan struct{})
	go func() {
		defer close(done)
		next()
	}()
	eventually(t, "the next user waits", func() bool { return p.Stat().Queued() == 1 })
	l.Release()
	<-done
	return tp.since()
}

// The reset goes in the packet of the next user's first statement, which stays prepared.
func TestAResetCostsNoRoundTripAndNoPreparedStatement(t *testing.T) {
	t.Parallel()
	ctx, tp := bounded(t), &tap{}
	p := newPool(t, tp.config(pool.Config{MaxConns: 1, Lanes: pool.Off}))
	ask := func() {
		var n string
		assert.NoError(t, p.QueryRow(ctx, "select current_setting($1)", "work_mem").Scan(&n))
		assert.Equal(t, "4MB", n)
	}
	ask()
	ask()
	eventually(t, "it was looked at", func() bool { return p.Stat().IdleConns() == 1 })
	resets := p.Stat().Invocations().Resets
	assert.Equal(t, []string{"QQBES"}, leaving(t, ctx, p, tp, "set work_mem = '9MB'", ask))
	assert.Equal(t, resets+1, p.Stat().Invocations().Resets)
	begin := func() {
		assert.NoError(t, pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error { ask := tx.QueryRow(ctx, "show work_mem"); var s string; return ask.Scan(&s) }))
	}
	begin()
	tp.reset()
	sent := leaving(t, ctx, p, tp, "set work_mem = '9MB'", begin)
	assert.Equal(t, []string{"QQQ", "BES", "Q"}, sent)
}

// Whoever runs one statement after the other does not wait for a reset after each: it joins
// the next, if that comes soon.
func TestAResetWaitsForCompany(t *testing.T) {
	t.Parallel()
	ctx, tp := bounded(t), &tap{}
	p := newPool(t, tp.config(pool.Config{MaxConns: 1, Lanes: pool.Off}))
	for range 50 {
		_, err := p.Exec(ctx, "select set_config('app.user', $1, false)", "somebody")
		require.NoError(t, err)
	}
	assert.Contains(t, tp.since(), "QQBES", "a reset in the packet of the statement after it")
	var sent []string
	eventually(t, "the last of them goes alone", func() bool {
		sent = append(sent, tp.since()...)
		return slices.Contains(sent, "QQQ")
	})
	assert.NotContains(t, sent, "QQBES")
}

func TestCleanLeasesSendNothingOfTheirOwn(t *testing.T) {
	t.Parallel()
	ctx, tp := bounded(t), &tap{}
	dsn := pgtest.Database(t)
	p := newPoolAt(t, dsn, tp.config(pool.Config{MaxConns: 1}))
	exec := func(sql string, args ...any) {
		_, err := p.Exec(ctx, sql, args...)
		require.NoError(t, err, sql)
	}
	exec("create table t (id int primary key, n int default 0, at timestamptz default now())")
	exec("create table child (id int references t on delete cascade)")
	exec("create table serials (id serial primary key, v text)")
	clean := func() {
		exec("select n from t where id = $1", 1)
		exec("insert into t (id) values ($1) on conflict (id) do update set n = t.n + 1", 1)
		exec("update t set n = n + 1 where id = $1", 1)
		exec("delete from t where id = $1", 2)
		assert.NoError(t, pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "set local work_mem = '9MB'")
			return err
		}))
		exec("select pg_advisory_xact_lock($1), clock_timestamp(), set_config('app.tenant', $2, true)", 1, "me")
	}
	for range 2 { // the second time they are looked at
		clean()
		eventually(t, "all is looked at", func() bool { return p.Stat().IdleConns() == 1 })
	}
	resets := p.Stat().Invocations().Resets
	clean()
	assert.Equal(t, resets, p.Stat().Invocations().Resets)

	// A serial column leaves lastval behind, which is dropped in front of who would read it.
	for range 3 {
		exec("insert into serials (v) values ($1)", "x")
		eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
	}
	assert.LessOrEqual(t, p.Stat().Invocations().Resets, resets+2, "none once it is known what the insert does")
	_, err := p.Exec(ctx, "select lastval()")
	assert.Error(t, err)

	// A trigger that comes later is not seen by a statement that was looked at. That is
	// documented; what the server reports is.
	exec("create function f() returns trigger language plpgsql as $$ begin perform set_config('TimeZone', 'Asia/Tokyo', false); return new; end $$")
	exec("create trigger f before update on t for each row execute function f()")
	exec("update t set n = n + 1 where id = $1", 1)
	var zone string
	require.NoError(t, p.QueryRow(ctx, "show timezone").Scan(&zone))
	assert.NotEqual(t, "Asia/Tokyo", zone)
}

// An advisory lock that was forgotten does not wait for the connection's next user.
func TestWhatIsLeftIsTakenAwayAtOnceIfNobodyWaits(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	p, server := newPoolAt(t, dsn, &pool.Config{MaxConns: 1}), newInspector(t, dsn)
	_, err := p.Exec(ctx, "select pg_advisory_lock(1)")
	require.NoError(t, err)
	eventually(t, "the lock is gone", func() bool {
		return server.count("select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())") == 0
	})
	assert.EqualValues(t, 1, p.Stat().NewConnsCount())
}

// Acquire's user may not say anything for long: the reset does not wait for that.
func TestALeaseIsResetBeforeItsUserSaysAnything(t *testing.T) {
	t.Parallel()
	ctx, tp := bounded(t), &tap{}
	p := newPool(t, tp.config(pool.Config{MaxConns: 1}))
	var l *pool.Lease
	sent := leaving(t, ctx, p, tp, "listen c", func() {
		var err error
		l, err = p.Acquire(ctx)
		assert.NoError(t, err)
	})
	defer l.Release()
	assert.Equal(t, []string{"QQ"}, sent)
	var n int
	require.NoError(t, l.QueryRow(ctx, "select count(*) from pg_listening_channels()").Scan(&n))
	assert.Zero(t, n)
}

// A reset that fails ends the session, and what traveled behind it runs somewhere else.
func TestNothingRunsBehindAResetThatFailed(t *testing.T) {
	t.Parallel()
	ctx, tp, dsn := bounded(t), &tap{}, pgtest.Database(t)
	server := newInspector(t, dsn)
	role := "role_" + server.database()
	server.exec("create role " + role)
	server.exec("create table seen (role text)")
	server.exec("grant insert on seen to public")
	first := true
	c := tp.config(pool.Config{MaxConns: 1, Lanes: pool.Off, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		if !first {
			return nil
		}
		first = false
		_, err := c.Exec(ctx, "set role "+role)
		return err
	}})
	p := newPoolAt(t, dsn, c)
	sent := leaving(t, ctx, p, tp, "set role none", func() {
		server.exec("drop owned by " + role)
		server.exec("drop role " + role) // so the reset cannot go back to it
		_, err := p.Exec(ctx, "insert into seen values (current_user)")
		assert.NoError(t, err, "it had not run, and was run again")
	})
	assert.Equal(t, "QQQQ", sent[0], "fail closed, the reset, the values of sequences, the statement")
	assert.Equal(t, 1, server.count("select count(*) from seen"))
	assert.EqualValues(t, 2, p.Stat().NewConnsCount())
}

func TestIsolationCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 1, Isolation: pool.Off})
	_, err := p.Exec(ctx, "set work_mem = '9MB'")
	require.NoError(t, err)
	var s string
	require.NoError(t, p.QueryRow(ctx, "show work_mem").Scan(&s))
	assert.Equal(t, "9MB", s)
	assert.Zero(t, p.Stat().Invocations().Resets)
}

// Under the name of a statement that AfterConnect has prepared the next user finds no other one, and not none.
func TestWhatAfterConnectHasPreparedIsNobodyElses(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{"replaced": "prepare mine as select 666", "gone": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			p := newPool(t, &pool.Config{MaxConns: 1, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
				_, err := c.Exec(ctx, "prepare mine as select 1")
				return err
			}})
			l, err := p.Acquire(ctx)
			require.NoError(t, err)
			for _, s := range []string{"deallocate mine", sql} {
				_, err := l.Exec(ctx, s)
				require.NoError(t, err)
			}
			l.Release()
			var n int
			require.NoError(t, p.QueryRow(ctx, "execute mine").Scan(&n))
			assert.Equal(t, 1, n)
		})
	}
}

// Of what AfterConnect has prepared by pgx the text is known, and so what it leaves: nothing, and there is no reset.
func TestWhatAfterConnectHasPreparedIsKnownByItsText(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 1, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Prepare(ctx, "mine", "select $1::int + count(*) from pg_class")
		if err == nil {
			_, err = c.Prepare(ctx, "leaves", "select set_config('app.x', $1, false)")
		}
		return err
	}})
	n := 0
	ask := func() { require.NoError(t, p.QueryRow(ctx, "mine", 1).Scan(&n)) }
	ask()
	eventually(t, "it was looked at", func() bool { return p.Stat().IdleConns() == 1 })
	resets := p.Stat().Invocations().Resets
	for range 5 {
		ask()
	}
	assert.Equal(t, resets, p.Stat().Invocations().Resets)
	var left string
	require.NoError(t, p.QueryRow(ctx, "leaves", "left").Scan(&left))
	require.NoError(t, p.QueryRow(ctx, "select coalesce(current_setting('app.x', true), '')").Scan(&left))
	assert.Empty(t, left)
}

// What AfterConnect does that no reset can do again costs the connection, not the next user.
func TestAnAfterConnectThatListensIsNotReset(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	log := &logs{}
	p := newPool(t, &pool.Config{MaxConns: 1, Logger: log.logger(), AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "listen c")
		return err
	}})
	for range 2 {
		_, err := p.Exec(ctx, "set work_mem = '9MB'")
		require.NoError(t, err)
		var n int
		require.NoError(t, p.QueryRow(ctx, "select count(*) from pg_listening_channels()").Scan(&n))
		assert.Equal(t, 1, n)
	}
	assert.Positive(t, p.Stat().Invocations().Unclean)
	assert.Len(t, slices.DeleteFunc(log.lines(), func(l string) bool { return !strings.Contains(l, "AfterConnect leaves what no reset keeps") }), 1)
}

// In this mode pgx writes a batch to the socket itself, and nobody knows in front of what a reset would travel. Nothing is
// reset, which is said once; and nothing is sent without the settings that it was to run with.
func TestInExecModeNothingIsResetAndItIsSaid(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(dsn string, c *pool.Config) string{
		"connection string": func(dsn string, _ *pool.Config) string { return dsn + "&default_query_exec_mode=exec" },
		"BeforeConnect": func(dsn string, c *pool.Config) string {
			c.BeforeConnect = inExecMode(nil)
			return dsn
		},
	} {
		ctx, log := bounded(t), &logs{}
		c := &pool.Config{MaxConns: 1, Logger: log.logger()}
		p := newPoolAt(t, set(pgtest.Database(t), c), c)
		_, err := p.Exec(ctx, "set work_mem = '9MB'")
		require.NoError(t, err)
		var q pgx.Batch
		q.Queue("select current_setting('work_mem')").QueryRow(func(r pgx.Row) error {
			var s string
			err := r.Scan(&s)
			assert.Equal(t, "9MB", s, name)
			return err
		})
		assert.NoError(t, p.SendBatch(ctx, &q).Close())
		assert.Zero(t, p.Stat().Invocations().Resets, name)
		assert.Len(t, log.lines(), 1, name)
		assert.Contains(t, log.lines()[0], "Isolation is off")

		q.QueuedQueries = nil
		q.Queue("select 1")
		err = p.With(map[string]string{"app.tenant": "a"}).SendBatch(ctx, &q).Close()
		assert.ErrorContains(t, err, "lmipool: With: in QueryExecModeExec", name)
		assert.True(t, pool.Misconfigured(err), "%s: %v", name, err)
	}
	log := &logs{}
	p := newPoolAt(t, pgtest.Database(t)+"&default_query_exec_mode=exec", &pool.Config{Logger: log.logger(), Isolation: pool.Off})
	require.NoError(t, p.Ping(bounded(t)))
	assert.Empty(t, log.lines(), "who has said it knows it")
	for what, err := range map[string]error{
		"Ping":  p.With(map[string]string{"app.tenant": "a"}).Ping(bounded(t)),
		"Exec":  second(p.With(map[string]string{"app.tenant": "a"}).Exec(bounded(t), "select 1")),
		"Begin": second(p.With(map[string]string{"app.tenant": "a"}).Begin(bounded(t))),
	} {
		assert.True(t, pool.Misconfigured(err), "%s: %v", what, err)
	}
}
