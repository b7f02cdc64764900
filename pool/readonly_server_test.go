package pool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// blue is a server of a test's own whose configuration makes it read-only, or not, while it runs. What see does is not bound by that.
type blue struct {
	*pgtest.Server
	t   *testing.T
	see *inspector
}

func newBlue(t *testing.T, settings map[string]string) *blue {
	t.Helper()
	s, err := pgtest.Start(bounded(t), pgtest.Options{Settings: settings})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	b := &blue{Server: s, t: t, see: newInspector(t, s.ConnString()+"&options=-c%20default_transaction_read_only%3Doff")}
	b.see.exec("create table t (id int primary key, pid int default pg_backend_pid())")
	return b
}

// sets changes the configuration. The postmaster signals its sessions before it forks the next, so when a new session
// has a value then each old one takes it over before it runs its next statement.
func (b *blue) sets(name, value string) {
	b.t.Helper()
	b.see.exec("alter system set " + name + " = '" + value + "'")
	b.see.exec("select pg_reload_conf()")
	eventually(b.t, "a new session has it", func() bool {
		c, err := pgx.Connect(bounded(b.t), b.ConnString())
		require.NoError(b.t, err)
		defer c.Close(context.Background())
		var is string
		require.NoError(b.t, c.QueryRow(bounded(b.t), "show "+name).Scan(&is))
		return is == value
	})
}

// endsSessions ends all but see's.
func (b *blue) endsSessions() {
	b.t.Helper()
	b.see.exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'")
}

// lane is a pool whose only session has been a lane, with the session guard, just now.
func (b *blue) lane(t *testing.T, c *pool.Config) *laneLab {
	t.Helper()
	ctx := bounded(t)
	c.MaxConns = 1
	l := &laneLab{t: t, p: newPoolAt(t, b.ConnString(), c), dsn: b.ConnString(), see: b.see}
	l.p.NeverSlow()
	l.p.NeverOld()
	l.teach(ctx, "select 40 + $1::int", 2)
	fs := make([]func(), 100)
	for i := range fs {
		fs[i] = l.company(ctx)
	}
	l.together(ctx, fs...)
	require.EqualValues(t, 100, l.p.Stat().Lanes().Rides)
	require.EqualValues(t, 4, l.p.Stat().Lanes().Flights, "the session guard comes with the second group")
	return l
}

type execer interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}

// insertsInto inserts n rows from id on. acknowledged are those that were.
func insertsInto(q execer, from, n int) (acknowledged int, last error) {
	for id := from; id < from+n; id++ {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err := q.Exec(ctx, "insert into t (id) values ($1)", id)
		cancel()
		if err == nil {
			acknowledged++
		} else {
			last = err
		}
	}
	return acknowledged, last
}

// What the server has come to say while a session was a lane is what holds in it afterwards, as in any other session.
func TestALanesSessionObeysAReload(t *testing.T) {
	t.Parallel()
	b := newBlue(t, nil)
	const off, on = "off", "on"
	for what, c := range map[string]struct {
		config pool.Config
		writes bool // AfterConnect says so
		second string
	}{
		"nothing of AfterConnect's":       {second: "7s 8s"},
		"a timeout of AfterConnect's":     {config: pool.Config{AfterConnect: exec("set statement_timeout = '5s'")}, second: "5s 8s"},
		"writing by AfterConnect":         {config: pool.Config{AfterConnect: exec("set default_transaction_read_only = off; set lock_timeout = '3s'")}, writes: true, second: "7s 3s"},
		"without isolation":               {config: pool.Config{Isolation: pool.Off}, second: "7s 8s"},
		"a timeout, without isolation":    {config: pool.Config{Isolation: pool.Off, AfterConnect: exec("set statement_timeout = '5s'")}, second: "5s 8s"},
		"by AfterConnect, not isolated":   {config: pool.Config{Isolation: pool.Off, AfterConnect: exec("set default_transaction_read_only = off")}, writes: true, second: "7s 8s"},
		"what nobody knows, not isolated": {config: pool.Config{Isolation: pool.Off, AfterConnect: exec("do $$ begin perform set_config('app.x', 'y', false); end $$; set statement_timeout = '5s'")}, second: "5s 8s"},
	} {
		b.see.exec("truncate t")
		log := &logs{}
		c.config.Logger = log.logger()
		beside := func() *pgxpool.Pool {
			cfg, err := pgxpool.ParseConfig(b.ConnString())
			require.NoError(t, err)
			cfg.AfterConnect, cfg.MaxConns = c.config.AfterConnect, 1
			px, err := pgxpool.NewWithConfig(bounded(t), cfg)
			require.NoError(t, err)
			t.Cleanup(px.Close)
			require.NoError(t, px.Ping(bounded(t)))
			return px
		}
		l, px := b.lane(t, &c.config), beside()
		b.sets("statement_timeout", "7s")
		b.sets("lock_timeout", "8s")
		const timeouts = "select current_setting('statement_timeout') || ' ' || current_setting('lock_timeout')"
		var ours, pgxs string
		require.NoError(t, l.p.QueryRow(bounded(t), timeouts).Scan(&ours))
		require.NoError(t, px.QueryRow(bounded(t), timeouts).Scan(&pgxs))
		assert.Equal(t, c.second, pgxs, what)
		assert.Equal(t, c.second, ours, what)
		l.p.Close()

		l, px = b.lane(t, &c.config), beside()
		b.sets("default_transaction_read_only", on)
		n, err := insertsInto(l.p, 0, 10)
		m, pgxErr := insertsInto(px, 100, 10)
		t.Logf("%s: acknowledged of 10 on a server that is read-only: %d, pgxpool %d; rows %d (%v)", what, n, m, b.see.count("select count(*) from t"), err)
		if c.writes {
			assert.Equal(t, []int{10, 10}, []int{n, m}, what)
		} else {
			assert.Equal(t, []int{0, 0}, []int{n, m}, what)
			assert.ErrorContains(t, pgxErr, "25006")
		}
		assert.Equal(t, n+m, b.see.count("select count(*) from t"), what)
		b.sets("default_transaction_read_only", off)
		b.sets("statement_timeout", "0")
		b.sets("lock_timeout", "0")
		n, err = insertsInto(l.p, 200, 10)
		require.NoError(t, err)
		assert.Equal(t, 10, n, what)
		if what != "what nobody knows, not isolated" {
			assert.NotContains(t, strings.Join(log.lines(), "\n"), "is closed instead of reset", what)
		}
	}
}

// A blue/green switch-over: the old server becomes read-only, and later its name is the new one's. Who writes
// waits, and nothing is lost, doubled or refused, though the sockets to the old one stay as they are.
func TestASwitchOverToAnotherServerIsWaitedOut(t *testing.T) {
	t.Parallel()
	old, green := newBlue(t, nil), newBlue(t, nil)
	proxy, err := netfault.Listen(old.Addr())
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	dsn := strings.Replace(old.ConnString(), old.Addr(), proxy.Addr(), 1)
	log := &logs{}
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, Logger: log.logger()})
	px, err := pgxpool.New(bounded(t), dsn)
	require.NoError(t, err)
	defer px.Close()

	ctx, stop := context.WithTimeout(bounded(t), 15*time.Second)
	defer stop()
	var id, refused, pgxRefused, failed atomic.Int64
	var mu sync.Mutex
	acknowledged := map[int64]bool{}
	var over atomic.Bool
	var wg sync.WaitGroup
	work := func(insert func(ctx context.Context, id int64) error) {
		wg.Go(func() {
			for !over.Load() {
				n := id.Add(1)
				err := insert(ctx, n)
				var pg *pgconn.PgError
				switch {
				case err == nil:
					mu.Lock()
					acknowledged[n] = true
					mu.Unlock()
				case errors.As(err, &pg) && pg.Code == "25006":
					refused.Add(1)
				default:
					failed.Add(1)
					t.Logf("%v", err)
				}
			}
		})
	}
	const insert = "insert into t (id) values ($1)"
	for range 4 {
		work(func(ctx context.Context, id int64) error { _, err := p.Exec(ctx, insert, id); return err })
		work(func(ctx context.Context, id int64) error {
			return p.QueryRow(ctx, insert+" returning id", id).Scan(new(int))
		})
		work(func(ctx context.Context, id int64) error {
			return pool.InTx(ctx, p, pool.TxOptions{MaxRetries: 3}, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, insert, id)
				return err
			})
		})
		wg.Go(func() { // reads ride meanwhile
			for i := 0; !over.Load(); i++ {
				if err := p.QueryRow(ctx, "select $1::int", i).Scan(new(int)); err != nil {
					failed.Add(1)
					t.Logf("%v", err)
				}
			}
		})
		wg.Go(func() {
			for !over.Load() {
				if _, err := px.Exec(ctx, insert, -id.Add(1)); err != nil {
					pgxRefused.Add(1)
				}
			}
		})
	}
	done := func() int { mu.Lock(); defer mu.Unlock(); return len(acknowledged) }
	grows := func(by int) {
		t.Helper()
		n := done()
		eventually(t, "writes go on", func() bool { return done() >= n+by })
	}
	grows(50)
	old.sets("default_transaction_read_only", "on")
	eventually(t, "a dial has found it", func() bool { return p.Stat().Dials().Failed >= 2 })
	eventually(t, "pgxpool is refused", func() bool { return pgxRefused.Load() > 100 })
	shut := old.see.count("select count(*) from t")
	proxy.Retarget(green.Addr())
	grows(50)
	over.Store(true)
	wg.Wait()
	t.Logf("acknowledged %d, refused with 25006 %d, other errors %d; pgxpool refused %d; fences %d", done(), refused.Load(), failed.Load(), pgxRefused.Load(), p.Stat().Dials().Failovers)
	assert.Zero(t, refused.Load())
	assert.Zero(t, failed.Load())
	assert.Equal(t, shut, old.see.count("select count(*) from t"), "what was written after that would be lost")
	assert.EqualValues(t, 1, p.Stat().Dials().Failovers)
	for n := range acknowledged {
		at := old.see.count(fmt.Sprint("select count(*) from t where id = ", n)) + green.see.count(fmt.Sprint("select count(*) from t where id = ", n))
		assert.Equal(t, 1, at, n)
	}
	assert.Equal(t, done(), old.see.count("select count(*) from t where id > 0")+green.see.count("select count(*) from t"))
	assert.Contains(t, strings.Join(log.lines(), "\n"), "the server is read-only now, by its configuration")

	// With both in the connection string there is nothing to wait for.
	old.sets("default_transaction_read_only", "off")
	q := newPoolAt(t, strings.Replace(old.ConnString(), old.Addr(), old.Addr()+","+green.Addr(), 1), nil)
	n, err := insertsInto(q, -1_000_001, 1)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	old.sets("default_transaction_read_only", "on")
	before := green.see.count("select count(*) from t")
	_, err = insertsInto(q, -1_000_002, 1)
	require.NoError(t, err)
	assert.Equal(t, before+1, green.see.count("select count(*) from t"))
	assert.Zero(t, q.Stat().Dials().Failed)
}

// A refusal that is not the server's own is told at once, and the connection is kept.
func TestAReadOnlySessionIsNotAReadOnlyServer(t *testing.T) {
	t.Parallel()
	b := newBlue(t, nil)
	b.see.exec("create role app login; grant all on t to app; grant usage on schema public to app")
	as := strings.Replace(b.ConnString(), "postgres@", "app@", 1)
	by := func(sql string) func() { return func() { b.see.exec(sql) } }
	for what, c := range map[string]struct {
		dsn       string
		config    pool.Config
		on        func(p *pool.Pool)
		begin, by func()
	}{
		"a role's setting": {dsn: as, begin: by("alter role app set default_transaction_read_only = on"), by: by("alter role app reset all")},
		"a database's":     {dsn: as, begin: by("alter database postgres set default_transaction_read_only = on"), by: by("alter database postgres reset all")},
		"every role's":     {dsn: as, begin: by("alter role all set default_transaction_read_only = on"), by: by("alter role all reset all")},
		"a role's, in one of the databases": {
			dsn: as, begin: by("alter role app in database postgres set default_transaction_read_only = on"),
			by: by("alter role app in database postgres reset all"),
		},
		"the user's own": {dsn: as, config: pool.Config{Isolation: pool.Off}, on: func(p *pool.Pool) {
			_, err := p.Exec(bounded(t), "set default_transaction_read_only = on")
			require.NoError(t, err)
		}},
	} {
		b.see.exec("truncate t")
		c.config.MaxConns = 1
		p := newPoolAt(t, c.dsn, &c.config)
		n, err := insertsInto(p, 0, 1)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		if c.begin != nil {
			c.begin()
			b.endsSessions()
		} else {
			c.on(p)
		}
		before := pid(t, p)
		for range 3 {
			_, err = p.Exec(bounded(t), "insert into t values (2)")
			require.ErrorContains(t, err, "25006", what)
		}
		assert.Equal(t, before, pid(t, p), what)
		assert.Zero(t, p.Stat().Dials().Failovers, what)
		assert.Zero(t, p.Stat().Dials().Failed, what)
		p.Close()
		if c.by != nil {
			c.by()
		}
	}
	// Nor is one of AfterConnect's, or the connection string's, though the server was made read-only too.
	for what, c := range map[string]struct {
		dsn    string
		config pool.Config
	}{
		"AfterConnect's":          {b.ConnString(), pool.Config{AfterConnect: exec("set default_transaction_read_only = on")}},
		"the connection string's": {b.ConnString() + "&default_transaction_read_only=on", pool.Config{}},
	} {
		c.config.MaxConns = 1
		p := newPoolAt(t, c.dsn, &c.config)
		require.NoError(t, pool.InTx(bounded(t), p, pool.TxOptions{TxOptions: pgx.TxOptions{AccessMode: pgx.ReadWrite}}, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "insert into t values (1) on conflict do nothing")
			return err
		}))
		before := pid(t, p)
		b.sets("default_transaction_read_only", "on")
		for range 3 {
			_, err := p.Exec(bounded(t), "insert into t values (2)")
			require.ErrorContains(t, err, "25006", what)
		}
		assert.Equal(t, before, pid(t, p), what)
		assert.Zero(t, p.Stat().Dials().Failovers, what)
		b.sets("default_transaction_read_only", "off")
	}
}

// A server that was read-only before it was met, by its configuration or on its command line, is one where
// who writes says READ WRITE. It stays reachable, also for those who do and for the reads beside a wrong write.
func TestAServerWhoseDefaultIsReadOnlyIsUsed(t *testing.T) {
	t.Parallel()
	file := newBlue(t, nil)
	file.sets("default_transaction_read_only", "on")
	for what, b := range map[string]*blue{"file": file, "command line": newBlue(t, map[string]string{"default_transaction_read_only": "on"})} {
		p := newPoolAt(t, b.ConnString(), &pool.Config{MaxConns: 2})
		for id := range 3 {
			require.NoError(t, pool.InTx(bounded(t), p, pool.TxOptions{TxOptions: pgx.TxOptions{AccessMode: pgx.ReadWrite}}, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "insert into t values ($1)", id)
				return err
			}), what)
			_, err := p.Exec(bounded(t), "insert into t values (100)")
			require.ErrorContains(t, err, "25006", what)
			assert.False(t, pool.OutcomeUnknown(err))
			require.NoError(t, p.Ping(bounded(t)), what)
			b.endsSessions()
		}
		assert.Equal(t, 3, b.see.count("select count(*) from t"))
		assert.Zero(t, p.Stat().Dials().Failovers, what)
	}
}

// A pool that only reads goes on, with its lanes, and each connection is renewed once and not reset for ever.
func TestAReaderDoesNotMindAServerThatBecomesReadOnly(t *testing.T) {
	t.Parallel()
	b := newBlue(t, nil)
	log := &logs{}
	l := b.lane(t, &pool.Config{Logger: log.logger()})
	quiet := newPoolAt(t, b.ConnString(), &pool.Config{MaxConns: 1, Logger: log.logger()})
	read := func(p *pool.Pool, n int) {
		t.Helper()
		for range n {
			require.NoError(t, p.QueryRow(bounded(t), "select count(*) from t").Scan(new(int)))
		}
	}
	read(quiet, 5)
	ctx := bounded(t)
	for round, to := range []string{"on", "off"} {
		b.sets("default_transaction_read_only", to)
		for range 5 {
			require.NoError(t, l.p.Ping(ctx))
			read(l.p, 1)
		}
		quietResets := quiet.Stat().Invocations().Resets
		read(quiet, 50)
		t.Logf("%s: %d reads, %d resets, %d connections", to, 50, quiet.Stat().Invocations().Resets-quietResets, quiet.Stat().NewConnsCount())
		assert.LessOrEqual(t, quiet.Stat().Invocations().Resets, quietResets+2, to)
		assert.EqualValues(t, round+2, quiet.Stat().NewConnsCount(), to)
		resets := l.p.Stat().Invocations().Resets
		fs := make([]func(), 100)
		for i := range fs {
			fs[i] = l.company(ctx)
		}
		l.together(ctx, fs...)
		read(l.p, 5)
		assert.LessOrEqual(t, l.p.Stat().Invocations().Resets, resets+1, to)
		assert.EqualValues(t, round+2, l.p.Stat().NewConnsCount(), to)
		assert.EqualValues(t, 0, l.p.Stat().Dials().Failovers)
	}
	// So it is with each setting that the server reports.
	quietResets := quiet.Stat().Invocations().Resets
	b.sets("timezone", "Asia/Tokyo")
	read(quiet, 50)
	var zone string
	require.NoError(t, quiet.QueryRow(ctx, "show timezone").Scan(&zone))
	assert.Equal(t, "Asia/Tokyo", zone)
	assert.LessOrEqual(t, quiet.Stat().Invocations().Resets, quietResets+2)
	assert.EqualValues(t, 4, quiet.Stat().NewConnsCount())
	t.Log(strings.Join(log.lines(), "\n"))
}

// A batch that has committed something before the server became read-only may not run again: the writer that comes next may have what it has committed.
func TestABatchThatHasCommittedBeforeTheServerBecameReadOnlyIsNotRetryable(t *testing.T) {
	t.Parallel()
	b := newBlue(t, nil)
	p := newPoolAt(t, b.ConnString(), &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	_, err := p.Exec(bounded(t), "insert into t values (0)") // so that the pool wants a writer
	require.NoError(t, err)
	batch := &pgx.Batch{}
	for _, sql := range []string{"begin", "insert into t values (1)", "select pg_advisory_xact_lock(7)", "commit", "insert into t values (2)"} {
		batch.Queue(sql)
	}
	done := make(chan error, 1)
	b.see.exec("select pg_advisory_lock(7)")
	go func() { done <- p.SendBatch(bounded(t), batch).Close() }()
	eventually(t, "the batch waits", func() bool {
		return b.see.count("select count(*) from pg_locks where locktype = 'advisory' and not granted") == 1
	})
	b.sets("default_transaction_read_only", "on")
	b.see.exec("select pg_advisory_unlock(7)")
	err = ends(t, "the batch", done)
	require.ErrorContains(t, err, "25006")
	assert.Equal(t, 1, b.see.count("select count(*) from t where id = 1"))
	assert.False(t, pool.Retryable(err), "%v", err)
}
