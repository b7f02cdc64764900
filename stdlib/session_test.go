package stdlib_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	pgxstdlib "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
	"github.com/lmipool/lmipool/stdlib"
)

const isLocked = "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())"

// A *sql.Conn keeps what it leaves in its session, and the next user of the only connection finds none of it.
func TestAConnKeepsItsSessionAndGivesItBackClean(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 1})
	l.exec("create table items (id serial, name text)")
	ctx := t.Context()
	for name, s := range map[string]struct{ leave, look, want string }{
		"a setting":            {"set app.x = 'left'", "select current_setting('app.x', true)", "left"},
		"a setting of its own": {"set time zone 'Asia/Tokyo'", "show time zone", "Asia/Tokyo"},
		"by a function":        {"select set_config('app.x', 'left', false)", "select current_setting('app.x', true)", "left"},
		"a temporary table":    {"create temporary table mine as select 'left' as name", "select name from mine", "left"},
		"a prepared statement": {"prepare mine as select 'left'", "execute mine", "left"},
		"a sequence":           {"insert into items (name) values ('x')", "select 'left' where lastval() > 0", "left"},
		"a cursor":             {"declare mine cursor with hold for select 'left'", "fetch mine", "left"},
		"a lock":               {"select pg_advisory_lock(7)", "select 'left' where pg_advisory_unlock(7)", "left"},
		"a channel":            {"listen mine", "select pg_listening_channels()", "mine"},
		"a DO block":           {"do $$ begin perform set_config('app.x', 'left', false); end $$", "select current_setting('app.x', true)", "left"},
		"a transaction":        {"begin; insert into items (name) values ('x')", "select 'left' where pg_current_xact_id_if_assigned() is not null", "left"},
	} {
		t.Run(name, func(t *testing.T) {
			l.teach("select 1")
			c := l.conn(ctx, l.db)
			assert.Equal(t, 1, one[int](t, c, "select 1"))
			l.idle() // nothing needs a session yet
			pid := one[int](t, c, "select pg_backend_pid()")
			_, err := c.ExecContext(ctx, s.leave)
			require.NoError(t, err)
			for range 2 {
				assert.Equal(t, pid, one[int](t, c, "select pg_backend_pid()"))
			}
			assert.EqualValues(t, 1, l.p.Stat().AcquiredConns())
			assert.Equal(t, s.want, one[string](t, c, s.look))
			require.NoError(t, c.Close())

			// Whoever comes next looks for it, in a session that is the same backend's.
			next := l.conn(ctx, l.db)
			assert.Equal(t, pid, one[int](t, next, "select pg_backend_pid()"), "the connection is kept")
			var got sql.NullString
			err = next.QueryRowContext(ctx, s.look).Scan(&got)
			assert.True(t, err != nil || got.String != s.want, "%q is still there", s.want)
			require.NoError(t, next.Close())
			assert.Zero(t, one[int](t, l.db, isLocked))
		})
	}
	assert.EqualValues(t, 1, l.p.Stat().NewConnsCount())
}

// Reads of a *sql.Conn hold nothing between calls, and ride, until the session makes a difference.
func TestReadsOfAConnRideUntilItNeedsASession(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 1})
	l.exec("create table items as select id, 'item ' || id as name from generate_series(1, 100) id")
	const read = "select name from items where id = $1"
	l.teach(read, 1)
	ctx := t.Context()
	var conns []*sql.Conn
	for range 8 {
		conns = append(conns, l.conn(ctx, l.db))
	}
	ask := func(q interface {
		QueryRowContext(context.Context, string, ...any) *sql.Row
	},
	) func() {
		return func() {
			var name string
			assert.NoError(t, q.QueryRowContext(ctx, read, 7).Scan(&name))
			assert.Equal(t, "item 7", name)
		}
	}
	var fs []func()
	for _, c := range conns {
		fs = append(fs, ask(c), ask(l.db)) // *sql.Conn and *sql.DB alike
	}
	require.Eventually(t, func() bool { return l.together(fs...) > 0 }, 20*time.Second, time.Millisecond, "none rides")
	l.idle()

	_, err := conns[0].ExecContext(ctx, "set search_path = pg_catalog")
	require.NoError(t, err)
	err = conns[0].QueryRowContext(ctx, read, 7).Scan(new(string))
	var pg *pgconn.PgError
	require.ErrorAs(t, err, &pg, "this read must run in the session, where there is no such table")
	assert.Equal(t, "42P01", pg.Code)
}

// What is known to need no session runs on the pool; everything else gets a lease.
func TestWhatNeedsASession(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.exec(`create table items (id int primary key, name text, at timestamptz default now());
		create table numbered (id serial primary key, name text);
		create function leaves() returns int language sql volatile as $$ select set_config('app.x', 'y', false); select 1 $$;
		create view who as select pg_backend_pid() as pid;
		create function noted() returns trigger language plpgsql as $$ begin new.name := upper(new.name); return new; end $$;
		create table fired (id int, name text);
		create trigger fired before insert on fired for each row execute function noted();`)
	for _, sql := range []string{
		"select 1", "select count(*) from items", "select name from items where id = 1 for update", "insert into items values (1, 'x') on conflict do nothing",
		"update items set name = 'y'", "delete from items where id = 2", "with d as (delete from items where id = 3 returning *) select count(*) from d",
		"select clock_timestamp() > now()",
	} {
		l.teach(sql) // fails if it needs one
	}
	for _, sql := range []string{
		"begin", "commit", "set app.x = 'y'", "set local app.x = 'y'", "show app.x", "listen c", "notify c", "create table more (id int)", "select 1; select 2", "",
		"insert into numbered (name) values ('x')", "select leaves()", "select pg_backend_pid()", "select pid from who", "select inet_client_port()",
		"select lastval()", "select set_config('app.x', 'y', false)", "select pg_advisory_lock(1)", "insert into fired values (1, 'x')", "select no_such_function()",
	} {
		for range 3 { // what is known after it ran is not that it needs none
			_, _ = l.db.Exec(sql)
			l.idle()
		}
		assert.True(t, l.p.NeedsSession(t.Context(), sql), sql)
	}
	l.idle()
}

// The end of a scope takes back what a *sql.Conn or a *sql.Tx holds, and says where the user's code has begun it.
func TestTheEndOfAScopeTakesBackWhatDatabaseSQLHolds(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var mu sync.Mutex
	l := newLab(t, &pool.Config{MaxConns: 2, Logger: slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(b)
	}), nil))})
	ctx, scope := l.p.OpenScope(t.Context(), "request 1", time.Time{})
	c := l.conn(ctx, l.db)
	_, err := c.ExecContext(ctx, "set app.x = 'y'")
	require.NoError(t, err)
	tx, err := l.db.BeginTx(ctx, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 2, l.p.Stat().AcquiredConns())
	scope.End()
	l.idle()
	free := context.WithoutCancel(t.Context())
	_, err = c.ExecContext(free, "select 1")
	assert.ErrorIs(t, err, pool.ErrInvocationEnded)
	_, err = tx.ExecContext(free, "select 1")
	assert.Error(t, err)
	_ = tx.Rollback()
	require.NoError(t, c.Close())
	assert.Equal(t, 1, one[int](t, l.db, "select 1"), "the others go on")
	mu.Lock()
	defer mu.Unlock()
	assert.Contains(t, log.String(), "TestTheEndOfAScopeTakesBackWhatDatabaseSQLHolds")
	assert.NotContains(t, log.String(), "database/sql.")
	assert.EqualValues(t, 2, l.p.Stat().Invocations().Leaks)
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// A statement whose ctx ends costs neither the connection nor the session of its *sql.Conn.
func TestACancelKeepsTheConnection(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 1, CancelWait: 20 * time.Second, MaxWait: -1, MaxQueue: -1})
	c := l.conn(t.Context(), l.db)
	_, err := c.ExecContext(t.Context(), "set app.x = 'kept'")
	require.NoError(t, err)
	pid := one[int](t, c, "select pg_backend_pid()")
	for _, q := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := c.ExecContext(ctx, "select pg_sleep(30)"); return err },
		func(ctx context.Context) error { return c.QueryRowContext(ctx, "select 'x', pg_sleep(30)").Err() },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := q(ctx)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "kept", one[string](t, c, "select current_setting('app.x')"))
	}
	require.NoError(t, c.Close())

	ctx, cancel := context.WithCancel(t.Context())
	tx, err := l.db.BeginTx(ctx, nil)
	require.NoError(t, err)
	_, err = tx.Exec("set app.x = 'of the transaction'")
	require.NoError(t, err)
	cancel() // database/sql rolls back
	require.Error(t, tx.Commit())
	l.idle()
	assert.Equal(t, pid, one[int](t, l.db, "select pg_backend_pid()"))
	assert.EqualValues(t, 1, l.p.Stat().NewConnsCount())
}

// A session that is lost is never replaced in silence.
func TestALostSessionIsABadConn(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 1})
	ctx := t.Context()
	lose := func(pid int) {
		require.True(t, one[bool](t, l.pgx, "select pg_terminate_backend($1, 20000)", pid))
	}
	c := l.conn(ctx, l.db)
	_, err := c.ExecContext(ctx, "set app.x = 'y'")
	require.NoError(t, err)
	lose(one[int](t, c, "select pg_backend_pid()"))
	err = c.QueryRowContext(ctx, "select current_setting('app.x', true)").Scan(new(string))
	require.Error(t, err)
	if !errors.Is(err, driver.ErrBadConn) { // the first one may have been sent
		err = c.QueryRowContext(ctx, "select 1").Scan(new(int))
		require.ErrorIs(t, err, driver.ErrBadConn)
	}
	assert.ErrorIs(t, c.PingContext(ctx), sql.ErrConnDone)
	require.ErrorIs(t, c.Close(), sql.ErrConnDone)

	tx, err := l.db.BeginTx(ctx, nil)
	require.NoError(t, err)
	var pid int
	require.NoError(t, tx.QueryRow("select pg_backend_pid()").Scan(&pid))
	lose(pid)
	_, err = tx.Exec("select 1")
	require.Error(t, err)
	_, err = tx.Exec("select 1")
	require.ErrorIs(t, err, driver.ErrBadConn)
	_ = tx.Rollback()

	// Whoever needs no old session does not notice.
	for range 3 {
		lose(one[int](t, l.db, "select pg_backend_pid()"))
		_, err = l.db.Exec("create table if not exists made (id int)")
		require.NoError(t, err)
		lose(one[int](t, l.db, "select pg_backend_pid()"))
		assert.Equal(t, 1, one[int](t, l.db, "select 1"))
		lose(one[int](t, l.db, "select pg_backend_pid()"))
		tx, err := l.db.Begin()
		require.NoError(t, err)
		require.NoError(t, tx.Rollback())
	}
	l.idle()
}

func TestRawGivesTheConnectionOfTheSession(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 2})
	ctx := t.Context()
	c := l.conn(ctx, l.db)
	require.NoError(t, c.Raw(func(dc any) error {
		assert.EqualValues(t, 0, l.p.Stat().AcquiredConns(), "Raw itself needs none")
		lease, err := dc.(*stdlib.Conn).Lease(ctx)
		require.NoError(t, err)
		_, err = lease.Exec(ctx, "create temporary table mine (id int, name text)")
		require.NoError(t, err)
		n, err := lease.CopyFrom(ctx, pgx.Identifier{"mine"}, []string{"id", "name"}, pgx.CopyFromRows([][]any{{1, "a"}, {2, "b"}}))
		assert.EqualValues(t, 2, n)
		return err
	}))
	assert.Equal(t, 2, one[int](t, c, "select count(*) from mine"))
	_, err := c.ExecContext(ctx, "listen news")
	require.NoError(t, err)
	_, err = l.db.Exec("select pg_notify('news', 'hello')")
	require.NoError(t, err)
	require.NoError(t, c.Raw(func(dc any) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		n, err := dc.(interface{ Conn() *pgx.Conn }).Conn().WaitForNotification(ctx)
		require.NoError(t, err)
		assert.Equal(t, "hello", n.Payload)
		return nil
	}))
	require.NoError(t, c.Close())
	l.idle()

	ended, cancel := context.WithCancel(ctx)
	c = l.conn(ended, l.db)
	cancel()
	require.NoError(t, c.Raw(func(dc any) error {
		assert.Nil(t, dc.(*stdlib.Conn).Conn(), "its ctx has ended")
		return nil
	}))
	assert.IsType(t, pgxstdlib.GetDefaultDriver(), l.db.Driver())
}
