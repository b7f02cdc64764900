package pool_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// leakSchema is what the vocabulary works on.
const leakSchema = `
create table t (id int primary key, n int default 0);
insert into t select i from generate_series(1, 100) i;
create table serials (id serial, v text);
create table identities (id int generated always as identity, v text);
create table triggered (v text);
create table partitioned (id int, v text) partition by range (id);
create table partition1 partition of partitioned for values from (0) to (1000);
create table parent (id int primary key);
create table child (id int references parent on delete cascade);
create sequence seq;
create schema other;
create table other.t (id int);
create view hiding as select id, set_config('app.hidden', 'view', false) from t;
create function sets() returns void language plpgsql as $$ begin perform set_config('app.inside', 'function', false); set work_mem = '3MB'; end $$;
create function swallows() returns int language plpgsql as $$ begin perform set_config('search_path', 'other', false); perform 1/0; exception when others then return 1; end $$;
create function locks() returns void language sql as $$ select pg_advisory_lock(4711) $$;
create function listens() returns void language plpgsql as $$ begin listen inside; create temp table if not exists inside (x int); end $$;
create function prepares() returns void language plpgsql as $$ begin execute 'prepare inside as select 1'; exception when others then null; end $$;
create function sequences() returns bigint language sql as $$ select nextval('seq') $$;
create function on_write() returns trigger language plpgsql as $$ begin perform set_config('app.trigger', 'fired', false); perform nextval('seq'); return new; end $$;
create trigger tr before insert or update on triggered for each row execute function on_write();
create trigger tr before insert on partition1 for each row execute function on_write();
create function on_delete() returns trigger language plpgsql as $$ begin perform pg_advisory_lock(42); return old; end $$;
create trigger tr before delete on child for each row execute function on_delete();
create function checked(int) returns boolean language plpgsql as $$ begin perform set_config('app.checked', $1::text, false); return true; end $$;
create table checks (id int check (checked(id)));
create procedure proc() language plpgsql as $$ begin perform set_config('TimeZone', 'Asia/Tokyo', false); end $$;
create function overloaded(int) returns int language sql as $$ select set_config('app.over', 'x', false); select 1 $$;
`

// vocabulary is what programs are made of. Each is one statement; $N is a number.
var vocabulary = []string{
	// what leaves something
	"set work_mem = '$NMB'", "set search_path = other, public", "set time zone 'Europe/Paris'", "set statement_timeout = '1$Ns'", "set datestyle = 'German'",
	"set application_name = 'leak$N'", "set session characteristics as transaction isolation level serializable", "set role leaker", "set session authorization leaker",
	"set app.tenant = '$N'", "set default_transaction_read_only = on", "reset work_mem", "set exit_on_error = off", "set lock_timeout = '5s'",
	"select set_config('app.tenant', 'tenant$N', false)", "select set_config('role', 'leaker', false)", "select pg_catalog.set_config('TimeZone', 'UTC+$N', false)",
	"with s as (select set_config('app.cte', 'x', false)) select 1 from s, t limit 1", "select set_config('app.a', 'l', true), set_config('app.b', 's', false)",
	"listen channel$N", "unlisten channel$N", "create temp table if not exists temp$N (x int)", "create temporary table if not exists tempc as select 1 as x",
	"select 1 as x into temp into$N", "create temp view tempview$N as select 1 as one", "create temp sequence if not exists tempseq$N",
	"select pg_advisory_lock($N)", "select pg_advisory_lock_shared($N)", "select pg_try_advisory_lock($N, 1)", "select locks()",
	"declare c$N cursor with hold for select * from t", "prepare p$N as select $N", "select nextval('seq')", "select setval('seq', 1000 + $N)",
	"select sets()", "select swallows()", "select listens()", "select prepares()", "select sequences()", "select id, set_config from hiding limit 1", "select * from hiding limit 2", "select overloaded(1)",
	"do $$ begin perform set_config('app.do', '$N', false); create temp table if not exists done (x int); end $$", "call proc()",
	"insert into serials (v) values ('x')", "insert into identities (v) values ('x') returning id", "insert into triggered values ('x')", "update triggered set v = 'y'",
	"insert into partitioned values ($N, 'x')", "delete from parent where id = $N", "insert into parent values ($N) on conflict do nothing", "insert into child select $N where exists(select from parent where id = $N)",
	"insert into checks values ($N)", "select lo_create(0)", "select setseed(0.$N)", "load 'plpgsql'",
	"explain analyze select sets()", "set local work_mem = '9MB'", "select set_config('app.local', 'x', true)", "discard all", "deallocate all",
	"begin", "begin isolation level serializable", "commit", "rollback", "savepoint s", "set transaction read only", "lock table t in access share mode",
	// what leaves nothing
	"select n from t where id = $N", "update t set n = n + 1 where id = $N", "select count(*) from t", "select * from t order by id limit 3 for update", "values (1), ($N)",
	"insert into t values ($N) on conflict (id) do update set n = t.n + 1", "delete from t where id = -$N", "select now(), clock_timestamp(), random()", "show work_mem", "select 1/0", "selec",
	"notify channel$N", "select current_setting('work_mem')", "table other.t",
}

// runner is what a program runs on.
type runner interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	Query(context.Context, string, ...any) (pgx.Rows, error)
}

// program is one invocation's: statements on one connection, or one by one.
type program struct {
	how        int // 0: pool's statements, 1: a lease, 2: a transaction, 3: the raw connection
	statements []string
	simple     []bool
	end        int // of a transaction: 0 commits, 1 rolls back, 2 forgets
}

func (p program) String() string {
	return fmt.Sprintf("how %d, end %d: %s", p.how, p.end, strings.Join(p.statements, "; "))
}

func newProgram(rng *rand.Rand) (p program) {
	p.how, p.end = rng.IntN(4), rng.IntN(3)
	for range 1 + rng.IntN(4) {
		s := strings.ReplaceAll(vocabulary[rng.IntN(len(vocabulary))], "$N", strconv.Itoa(1+rng.IntN(9)))
		p.statements = append(p.statements, s)
		p.simple = append(p.simple, rng.IntN(2) == 0)
	}
	return p
}

// on runs the statements one after the other, whatever comes of them.
func (p program) on(ctx context.Context, r runner) {
	for i, sql := range p.statements {
		if p.simple[i] {
			_, _ = r.Exec(ctx, sql)
		} else {
			if rows, err := r.Query(ctx, sql); err == nil {
				rows.Close()
			}
		}
	}
}

// traceProbe shows all that a session may have in it, a line each. What PL/pgSQL's library
// brings along when it is loaded, as by a reset, shows if it was changed. Names without the pool's id.
const traceProbe = `
select 'setting ' || name || ' = ' || regexp_replace(setting, '^lmipool/[^/]*/', '') from pg_settings where name !~ '^(transaction_|in_hot_standby)' and not (name like 'plpgsql.%' and setting = boot_val)
union all select 'user ' || current_user || ' ' || session_user || ' role ' || current_setting('role')
union all select 'custom ' || n || ' = ' || current_setting(n, true) from unnest('{app.tenant,app.cte,app.b,app.a,app.inside,app.hidden,app.do,app.trigger,app.checked,app.over,app.local}'::text[]) n
	where current_setting(n, true) <> ''
union all select 'listens ' || c from pg_listening_channels() c
union all select 'lock ' || locktype || ' ' || objid from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'
union all select 'temporary ' || relname from pg_class where relnamespace = pg_my_temp_schema()
union all select 'cursor ' || name from pg_cursors where name <> ''
union all select 'prepared ' || name from pg_prepared_statements where name !~ '^(stmtcache_|lmipool_)'
union all select 'transaction ' || x from pg_current_xact_id_if_assigned() x where x is not null
order by 1`

// prober is what a probe runs on.
type prober interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
	QueryRow(context.Context, string, ...any) pgx.Row
}

// probe returns what the session of c shows.
func probe(ctx context.Context, c prober) (lines []string, err error) {
	rows, err := c.Query(ctx, traceProbe, pgx.QueryExecModeExec)
	if err != nil {
		return nil, err
	}
	if lines, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return nil, err
	}
	for _, sql := range []string{"select 'lastval ' || lastval()", "select 'currval ' || currval('seq')"} {
		var s string
		if c.QueryRow(ctx, sql, pgx.QueryExecModeExec).Scan(&s) == nil {
			lines = append(lines, s)
		}
	}
	return lines, nil
}

func leakDatabase(t *testing.T) string {
	t.Helper()
	ctx, dsn := bounded(t), pgtest.Database(t)
	c, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer c.Close(ctx)
	_, err = c.Exec(ctx, "do $$ begin create role leaker; exception when duplicate_object or unique_violation then null; end $$;"+leakSchema+"grant all on all tables in schema public to leaker")
	require.NoError(t, err)
	return dsn
}

// fresh is what a new connection shows.
func fresh(t *testing.T, dsn string, after func(context.Context, *pgx.Conn) error) []string {
	t.Helper()
	ctx := bounded(t)
	c, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer c.Close(ctx)
	if after != nil {
		require.NoError(t, after(ctx, c))
	}
	lines, err := probe(ctx, c)
	require.NoError(t, err)
	return lines
}

// missing are the lines of a that are not in b.
func missing(a, b []string) (lines []string) {
	for _, l := range a {
		if _, found := slices.BinarySearch(b, l); !found {
			lines = append(lines, l)
		}
	}
	return lines
}

func TestNothingPassesFromOneInvocationToTheNext(t *testing.T) {
	t.Parallel()
	programs := envInt(t, "LMIPOOL_TEST_PROGRAMS", 1000)
	seed := envSeed(t)
	custom := func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "set time zone 'Asia/Kathmandu'; set app.tenant = 'nobody'; set search_path = public, other; set work_mem = '7MB'; set role leaker; prepare mine as select 1")
		return err
	}
	for name, after := range map[string]func(context.Context, *pgx.Conn) error{"plain": nil, "with AfterConnect": custom} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := leakDatabase(t)
			want := fresh(t, dsn, after)
			slices.Sort(want)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, AfterConnect: after, Logger: slog.New(slog.DiscardHandler)})
			p.LooksAtOnce(false)
			rng := rand.New(rand.NewPCG(seed, 1))
			traces, changed := 0, 0
			last := uint32(0)
			for i := range programs / 2 {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				prog := newProgram(rng)
				var got []string
				next := make(chan error, 1)
				look := func() {
					next <- p.AcquireFunc(ctx, func(l *pool.Lease) (err error) {
						var on prober = l
						if i%2 == 0 {
							on = l.Conn()
						}
						got, err = probe(ctx, on)
						var pid uint32
						if err := l.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid); err != nil {
							return err
						}
						if pid != last {
							changed++
							last = pid
						}
						return err
					})
				}
				waiting := rng.IntN(2) == 0 && prog.how > 0 // then the reset goes in front of what the next user says first
				invoke(ctx, p, prog, func() {
					if waiting {
						go look()
						eventually(t, "the next user waits", func() bool { return p.Stat().Queued() == 1 || ctx.Err() != nil })
					}
				})
				if !waiting {
					look()
				}
				err := <-next
				cancel()
				require.NoError(t, err, "program %d: %s", i, prog)
				slices.Sort(got)
				if left, lost := missing(got, want), missing(want, got); len(left)+len(lost) > 0 {
					traces++
					assert.Fail(t, "a trace", "program %d: %s\nleft: %s\nlost: %s", i, prog, left, lost)
					if traces > 5 {
						return
					}
				}
			}
			s := p.Stat()
			t.Logf("%d programs, %d traces; %d resets, %d connections in all, %d closed because nothing resets what was left",
				programs/2, traces, s.Invocations().Resets, s.NewConnsCount(), s.Invocations().Unclean)
			assert.Less(t, changed, programs/4, "mostly the same connection, or nothing is shown")
		})
	}
}

// invoke runs a program as an invocation of its own, and calls before when its statements are
// done and what they ran on is still its own.
func invoke(ctx context.Context, p *pool.Pool, prog program, before func()) {
	sctx, scope := p.OpenScope(ctx, "program", time.Time{})
	defer scope.End()
	switch prog.how {
	case 0:
		prog.on(sctx, p)
	case 1:
		if l, err := p.Acquire(sctx); err == nil {
			prog.on(sctx, l)
			before()
			if prog.end != 2 {
				l.Release()
			}
		}
	case 2:
		if tx, err := p.Begin(sctx); err == nil {
			prog.on(sctx, tx)
			before()
			switch prog.end {
			case 0:
				_ = tx.Commit(sctx)
			case 1:
				_ = tx.Rollback(sctx)
			}
		}
	case 3:
		if l, err := p.Acquire(sctx); err == nil {
			prog.on(sctx, l.Conn())
			_, _ = l.Conn().Prepare(sctx, "named", "select 1")
			before()
			l.Release()
		}
	}
}

// The same programs and the same probe show that pgxpool passes on nearly everything: so
// the probe sees.
func TestPgxpoolPassesOnWhatTheProbeLooksFor(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), leakDatabase(t)
	want := fresh(t, dsn, nil)
	slices.Sort(want)
	config, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	config.MaxConns = 1
	px, err := pgxpool.NewWithConfig(ctx, config)
	require.NoError(t, err)
	defer px.Close()
	kinds := map[string]bool{}
	programs, traces := 200, 0
	rng := rand.New(rand.NewPCG(1, 2))
	for range programs {
		prog := newProgram(rng)
		c, err := px.Acquire(ctx)
		require.NoError(t, err)
		prog.on(ctx, c)
		c.Release()
		c, err = px.Acquire(ctx)
		require.NoError(t, err)
		got, err := probe(ctx, c.Conn())
		require.NoError(t, c.Conn().Close(ctx)) // for the next program
		c.Release()
		slices.Sort(got)
		left := missing(got, want)
		if err != nil || len(left) > 0 {
			traces++
		}
		for _, l := range left {
			kinds[strings.Fields(l)[0]] = true
		}
	}
	t.Logf("pgxpool: traces after %d of %d programs, of these kinds: %v", traces, programs, kinds)
	for _, kind := range []string{"setting", "user", "custom", "listens", "lock", "temporary", "cursor", "prepared", "lastval", "currval"} {
		assert.True(t, kinds[kind], kind)
	}
}

// envInt is a number from the environment, or otherwise.
