package pool_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// passing is something that may pass from one lease to the next.
type passing struct {
	name   string
	setup  string
	tx     bool       // the statements are one transaction
	run    [][]string // what each lease runs, again and again: one of these after the other
	judge  string     // what the next lease asks, besides the probe
	later  string     // DDL after the first rounds
	wait   time.Duration
	config func(*pool.Config)
}

// judged is what q says to the judge's question; errors are answers.
func judged(ctx context.Context, q prober, sql string) string {
	if sql == "" {
		return ""
	}
	var s *string
	switch err := q.QueryRow(ctx, sql, pgx.QueryExecModeExec).Scan(&s); {
	case err != nil:
		return "error: " + err.Error()
	case s == nil:
		return "null"
	}
	return *s
}

func (a *passing) on(t *testing.T) {
	t.Parallel()
	if envInt(t, "LMIPOOL_TEST_WAYS", 0) == 0 && rand.IntN(3) > 0 {
		t.Skip("one in three runs; LMIPOOL_TEST_WAYS=1 runs all")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(strings.ReplaceAll(a.setup, "$DB", see.database()))
	config := &pool.Config{MaxConns: 1}
	if a.config != nil {
		a.config(config)
	}
	p := newPoolAt(t, dsn, config)
	p.LooksAtOnce(rand.IntN(2) == 0)
	look := func() (want, got []string) {
		c, err := pgx.Connect(ctx, dsn)
		require.NoError(t, err)
		defer c.Close(ctx)
		if config.AfterConnect != nil {
			require.NoError(t, config.AfterConnect(ctx, c))
		}
		ask := func(q prober) []string {
			first := judged(ctx, q, a.judge)
			lines, err := probe(ctx, q)
			require.NoError(t, err)
			slices.Sort(lines)
			return append(lines, "judge: "+first)
		}
		want = ask(c)
		require.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) error { got = ask(l); return nil }))
		return want, got
	}
	round := func(i int) bool {
		for _, statements := range a.run {
			if a.tx {
				tx, err := p.Begin(ctx)
				require.NoError(t, err)
				for _, sql := range statements {
					if _, err := tx.Exec(ctx, sql); err != nil {
						t.Log(sql, err)
					}
				}
				if err := tx.Commit(ctx); err != nil {
					t.Log(err)
				}
			} else {
				for _, sql := range statements {
					if _, err := p.Exec(ctx, sql); err != nil {
						t.Log(sql, err)
					}
				}
			}
			want, got := look()
			left := append(missing(got[:len(got)-1], want[:len(want)-1]), missing(want[:len(want)-1], got[:len(got)-1])...)
			for _, sql := range statements {
				if says, err := p.Leaves(ctx, sql); err == nil {
					t.Logf("round %d: %q is said to leave %d", i, sql, says)
				}
			}
			ok := assert.Empty(t, left, "round %d: a trace of %q", i, statements)
			if !assert.Equal(t, want[len(want)-1], got[len(got)-1], "round %d: after %q", i, statements) || !ok {
				return false
			}
			eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
		}
		return true
	}
	for i := range 4 {
		if !round(i) {
			return
		}
	}
	if a.later == "" {
		return
	}
	see.exec(a.later)
	time.Sleep(a.wait)
	for i := range 6 {
		if i > 0 {
			time.Sleep(500 * time.Millisecond)
		}
		if !round(10 + i) {
			return
		}
	}
}

const passBase = `
create table t (id int primary key, n int default 0);
insert into t select i from generate_series(1, 10) i;
create table fired (id int primary key, n int default 0);
insert into fired select i from generate_series(1, 10) i;
create sequence seq;
create function leaves() returns trigger language plpgsql as $$ begin perform set_config('app.trigger', 'x', false); return coalesce(new, old); end $$;
create trigger tr before update or insert or delete on fired for each row execute function leaves();
do $$ begin create role bob; exception when duplicate_object or unique_violation then null; end $$;
`

var byCode = []passing{
	{
		name: "cursor for update",
		setup: passBase + `create function f() returns int language plpgsql as $$ declare c refcursor; x int; begin
			open c for update fired set n = n + 1 where id = 1 returning n; fetch c into x; close c; return x; end $$;`,
		run: [][]string{{"select f()"}},
	},
	{
		name: "bound cursor for update",
		setup: passBase + `create function f() returns int language plpgsql as $$ declare c cursor for update fired set n = n + 1 where id = 1 returning n; x int; begin
			open c; fetch c into x; close c; return x; end $$;`,
		run: [][]string{{"select f()"}},
	},
	{
		name: "compiled under a setting",
		setup: passBase + `create function g() returns int language plpgsql as $$ declare n int := 77; begin return (select n from t where id = 1); end $$;
			create function f() returns int language plpgsql as $$ begin perform set_config('plpgsql.variable_conflict', 'use_variable', true); return g(); end $$;`,
		run:   [][]string{{"select f()"}},
		judge: "select g()::text",
	},
	{
		name: "compiled under a setting of the function",
		setup: passBase + `create function g() returns int language plpgsql as $$ declare n int := 77; begin return (select n from t where id = 1); end $$;
			create function f() returns int language plpgsql set plpgsql.variable_conflict = 'use_variable' as $$ begin return g(); end $$;`,
		run:   [][]string{{"select f()"}},
		judge: "select g()::text",
	},
	{
		name: "role",
		setup: passBase + `create schema bob authorization bob; create table bob.t (id int, n int); grant all on bob.t to bob; grant all on t to bob;
			create trigger tr before insert on bob.t for each row execute function leaves();`,
		run: [][]string{{"set local role bob", "insert into t (id) values (4) on conflict do nothing"}},
		tx:  true,
	},
	{
		name: "cascade runs as the owner of the table",
		setup: passBase + `create schema bob authorization bob; create table bob.log (id int); create table log (id int); grant all on bob.log to bob; grant all on log to bob;
			create trigger tr before insert on bob.log for each row execute function leaves();
			create table parent (id int primary key); create table child (id int references parent on delete cascade); alter table parent owner to bob; alter table child owner to bob;
			create function logs() returns trigger language plpgsql as $$ begin insert into log values (old.id); return old; end $$;
			create trigger tr before delete on child for each row execute function logs();
			insert into parent select i from generate_series(1, 10) i; insert into child select id from parent;`,
		run: [][]string{{"delete from parent where id = 1"}, {"delete from parent where id = 2"}, {"delete from parent where id = 3"}},
	},
	{
		name: "search_path from current",
		setup: passBase + `create schema other; create table other.t (id int, n int); create trigger tr before insert on other.t for each row execute function leaves();
			select set_config('search_path', 'OTHER, public', false); create function public.f() returns void language plpgsql set search_path from current as $$ begin insert into t values (5) on conflict do nothing; end $$;`,
		run: [][]string{{"select f()"}},
	},
	{
		name:  "a table called set",
		setup: passBase + `create table set (n int); insert into set values (1); create trigger tr before update on set for each row execute function leaves();`,
		run:   [][]string{{"update set set n = n + 1"}},
	},
	{
		name: "policies for update are a reader's for update",
		setup: passBase + `alter table t enable row level security; create policy p1 on t for select using (true); create policy p2 on t for update using (set_config('app.trigger', 'policy', false) is not null);
			grant all on t to public; create schema apart;`,
		run: [][]string{{"set local role bob", "select id from t for update"}},
		tx:  true,
	},
	{
		name:  "isn_weak",
		setup: passBase + `create extension isn;`,
		run:   [][]string{{"select isn_weak(true)"}},
		judge: "select isn_weak()::text",
	},
	{
		name: "owner's schema comes later",
		setup: passBase + `grant all on t to bob; create function f() returns void language plpgsql security definer as $$ begin insert into t (id) values (6) on conflict do nothing; end $$;
			alter function f() owner to bob;`,
		run: [][]string{{"select f()"}},
		later: `create schema bob authorization bob; create table bob.t (id int, n int); grant all on bob.t to bob;
			create trigger tr before insert on bob.t for each row execute function leaves();`,
		wait: 2500 * time.Millisecond,
	},
	{
		name: "a function that prepares comes later, called by an opaque one",
		setup: passBase + `set check_function_bodies = off; create function b() returns int language plpgsql as $$ begin return 1; end $$;
			create function a() returns int language plpgsql set work_mem = '5MB' as $$ begin return b(); end $$;`,
		run:   [][]string{{"select a()"}},
		later: `create or replace function b() returns int language plpgsql as $$ begin execute 'prepare leaked as select 1'; return 1; end $$;`,
		wait:  2500 * time.Millisecond,
	},
	{
		name: "a function that sets comes later, called by do",
		setup: passBase + `create function inside() returns float8 language plpgsql as $$ begin return extract(epoch from timestamptz '2024-01-01'); end $$;
			create function report() returns float8 language plpgsql as $$ begin return inside(); end $$;
			create function a() returns float8 language plpgsql set work_mem = '5MB' as $$ begin return report(); end $$;`,
		run:   [][]string{{"select a()"}},
		judge: "select inside()::text",
		later: `create or replace function report() returns float8 language plpgsql set timezone = 'Asia/Tokyo' as $$ begin return inside(); end $$;`,
		wait:  2500 * time.Millisecond,
	},
	{
		name:  "a setter comes later, a new function called by do",
		setup: passBase + `create function inside() returns float8 language plpgsql as $$ begin return extract(epoch from timestamptz '2024-01-01'); end $$;`,
		run:   [][]string{{"select 1"}},
		judge: "select 1::text",
		later: `create or replace function report() returns float8 language plpgsql set timezone = 'Asia/Tokyo' as $$ begin return inside(); end $$;
			create function a() returns float8 language plpgsql set work_mem = '5MB' as $$ begin return report(); end $$;`,
		wait: 2500 * time.Millisecond,
	},
}

func TestNothingPassesByCode(t *testing.T) {
	for _, a := range byCode {
		t.Run(a.name, a.on)
	}
}

// byNames are more.
var byNames = []passing{
	{
		name:  "search_path of the session, and its sequences",
		setup: passBase + `create schema other; create table other.t (id serial, n int);`,
		run:   [][]string{{"set search_path = other", "insert into t (n) values (1)"}},
		tx:    true,
	},
	{
		name: "search_path of the session, and a trigger that prepares",
		setup: passBase + `create schema other; create table other.t (id serial, n int);
			create function prepares() returns trigger language plpgsql as $$ begin execute 'prepare leaked as select 1'; return new; end $$;
			create trigger tr before insert on other.t for each row execute function prepares();`,
		run: [][]string{{"set search_path = other", "insert into t (n) values (1)"}},
		tx:  true,
	},
	{
		name:  "role, and sequences",
		setup: passBase + `create schema bob authorization bob; create sequence bob.s; create table bob.t (id int default nextval('bob.s'), n int); grant all on bob.t, bob.s to bob;`,
		run:   [][]string{{"set local role bob", "insert into t (n) values (4)"}},
		tx:    true,
	},
	{
		name: "policies for update are a reader's for update, as another role",
		setup: passBase + `alter table t enable row level security; create policy p1 on t for select using (true); create policy p2 on t for update using (set_config('app.trigger', 'policy', false) is not null);
			grant all on t to public;`,
		run: [][]string{{"select id from t for update"}},
		config: func(c *pool.Config) {
			c.AfterConnect = func(ctx context.Context, c *pgx.Conn) error { _, err := c.Exec(ctx, "set role bob"); return err }
		},
	},
	{
		name: "dblink in a body",
		setup: passBase + `create extension dblink; create function f() returns text language plpgsql as $$ begin
			if not 'leaked' = any (coalesce(dblink_get_connections(), '{}')) then return dblink_connect('leaked', 'host=' || split_part(current_setting('unix_socket_directories'), ',', 1) || ' port=' || current_setting('port') || ' dbname=$DB user=' || current_user); end if; return 'old'; end $$;`,
		run:   [][]string{{"select f()"}},
		judge: "select dblink_get_connections()::text",
	},
	{
		name: "dblink in a trigger",
		setup: passBase + `create extension dblink; create function f() returns trigger language plpgsql as $$ begin
			if not 'leaked' = any (coalesce(dblink_get_connections(), '{}')) then perform dblink_connect('leaked', 'host=' || split_part(current_setting('unix_socket_directories'), ',', 1) || ' port=' || current_setting('port') || ' dbname=$DB user=' || current_user); end if; return new; end $$;
			create trigger f before update on t for each row execute function f();`,
		run:   [][]string{{"update t set id = id"}},
		judge: "select dblink_get_connections()::text",
	},
	{
		name:  "a text that is made to prepare",
		setup: passBase + `create function f() returns void language sql as $$ do E'begin ex\145cute \'pre\160are leaked as select 1\'; end' $$;`,
		run:   [][]string{{"select f()"}},
	},
	{
		name:  "defaults of arguments",
		setup: passBase + `create function f(x text default set_config('app.trigger', 'default', false)) returns text language plpgsql as $$ begin return 'x'; end $$;`,
		run:   [][]string{{"select f()"}},
	},
	{
		name: "defaults of arguments in a view",
		setup: passBase + `create function f(x text default set_config('app.trigger', 'default', false)) returns text language sql as $$ select x $$;
			create view v as select f() from t limit 1;`,
		run: [][]string{{"select * from v"}},
	},
	{
		name:  "defaults of arguments, and locks",
		setup: passBase + `create function f(x int, y boolean default pg_try_advisory_lock(99)) returns int language sql as $$ select x $$;`,
		run:   [][]string{{"select f(1)"}},
	},
	{
		name:  "a new function that prepares, called at once",
		setup: passBase,
		run:   [][]string{{"select 1"}},
		later: `create function p() returns int language plpgsql as $$ begin execute 'prepare leaked as select 1'; return 1; exception when others then return 2; end $$;`,
	},
	{
		name:  "a function of its own that prepares",
		setup: passBase,
		run:   [][]string{{"create or replace function p() returns int language plpgsql as $$ begin execute 'prepare leaked as select 1'; return 1; end $$", "select p()"}},
		tx:    true,
	},
	{
		name:  "a temporary function that prepares",
		setup: passBase,
		run:   [][]string{{"select 1"}, {"create function pg_temp.p() returns int language plpgsql as $$ begin execute 'prepare leaked as select 1'; return 1; end $$", "select pg_temp.p()"}},
		tx:    true,
	},
	{
		name:  "plain strings with escapes",
		setup: passBase + `create function g() returns text language plpgsql as $$ begin return 'a\\b'; end $$;`,
		run:   [][]string{{"set local standard_conforming_strings = off", "select g()"}},
		tx:    true,
		judge: "select g()",
	},
	{
		name:  "plain strings with escapes in a function",
		setup: passBase + `create function g() returns text language plpgsql as $$ begin return 'a\\b'; end $$; create function f() returns text language plpgsql set standard_conforming_strings = off as $$ begin return g(); end $$;`,
		run:   [][]string{{"select f()"}},
		judge: "select g()",
	},
	{
		name:  "merge in a body",
		setup: passBase + `create function f() returns void language plpgsql as $$ begin merge into fired f using t on f.id = t.id when matched then update set n = t.n; end $$;`,
		run:   [][]string{{"select f()"}},
	},
	{
		name:  "instead of",
		setup: passBase + `create view v as select * from t; create trigger tr instead of update on v for each row execute function leaves(); create function f() returns void language sql as $$ update v set n = 2 where id = 1 $$;`,
		run:   [][]string{{"select f()"}, {"update v set n = 1 where id = 1"}},
	},
	{
		name:  "settings by a view",
		setup: passBase + `create view v as select * from pg_settings; create function f() returns void language sql as $$ update v set setting = '6MB' where name = 'work_mem' $$;`,
		run:   [][]string{{"select f()"}, {"update v set setting = '6MB' where name = 'work_mem'"}},
	},
	{
		name: "aggregate",
		setup: passBase + `create function sf(s int, v int) returns int language plpgsql as $$ begin perform set_config('app.trigger', 'agg', false); return coalesce(s, 0) + v; end $$; create aggregate agg(int) (sfunc = sf, stype = int);
			create function f() returns int language sql as $$ select agg(id) from t $$;`,
		run: [][]string{{"select agg(id) from t"}, {"select f()"}},
	},
	{
		name:  "deferred",
		setup: passBase + `create constraint trigger tr2 after update on t deferrable initially deferred for each row execute function leaves(); create function f() returns void language sql as $$ update t set n = 2 where id = 1 $$;`,
		run:   [][]string{{"select f()"}, {"update t set n = 1 where id = 1"}},
		tx:    true,
	},
	{
		name: "a comment where time zone is set",
		setup: passBase + `create function inside() returns float8 language plpgsql as $$ begin return extract(epoch from timestamptz '2024-01-01'); end $$;
			create function f() returns float8 language plpgsql as $$ begin set time/**/zone 'Asia/Tokyo'; return inside(); end $$;`,
		run:   [][]string{{"select f()"}},
		judge: "select inside()::text",
	},
	{
		name:  "a new function that sets, called at once",
		setup: passBase + `create function inside() returns float8 language plpgsql as $$ begin return extract(epoch from timestamptz '2024-01-01'); end $$;`,
		run:   [][]string{{"select 1"}, {"create or replace function f() returns float8 language plpgsql set timezone = 'Asia/Tokyo' as $$ begin return inside(); end $$", "select f()"}},
		judge: "select inside()::text",
	},
	{
		name:  "sequences in bodies",
		setup: passBase + `create function f() returns bigint language plpgsql as $$ begin return nextval('seq'); end $$; create function g() returns bigint language sql as $$ select currval('seq') $$;`,
		run:   [][]string{{"select f()"}},
		judge: "select g()::text",
	},
	{
		name: "sequences that a trigger tells",
		setup: passBase + `create function f() returns bigint language plpgsql as $$ begin return nextval('seq'); end $$;
			create table told (v bigint, id int default 1); create function tells() returns trigger language plpgsql as $$ begin new.v := lastval(); return new; exception when others then new.v := -1; return new; end $$;
			create trigger tr before insert on told for each row execute function tells();`,
		run:   [][]string{{"select f()"}},
		judge: "insert into told (id) values (1) returning v::text",
	},
}

func TestNothingPassesByNames(t *testing.T) {
	for _, a := range byNames {
		t.Run(a.name, a.on)
	}
}

// To pgx a text with a comment may be the name of a statement.
func TestANameWithACommentIsAName(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 1, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Prepare(ctx, "select 1 /*x*/", "select set_config('app.x', 'x', false)")
		return err
	}})
	for range 4 { // so that what it calls is known
		_, err := p.Exec(ctx, "select 1 /*y*/")
		require.NoError(t, err)
		_, err = p.Exec(ctx, "select set_config('app.x', '', false)")
		require.NoError(t, err)
		eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
	}
	for range 4 {
		_, err := p.Exec(ctx, "select 1 /*x*/")
		require.NoError(t, err)
		var x string
		require.NoError(t, p.QueryRow(ctx, "select coalesce(current_setting('app.x', true), '')").Scan(&x))
		if !assert.Empty(t, x) {
			return
		}
	}
}

// A name may read like a text without its comment.
func TestATextWithACommentIsNoName(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 1, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Prepare(ctx, "select set_config('app.x', 'x', false)", "select 1")
		return err
	}})
	for range 4 { // so that what it calls is known
		_, err := p.Exec(ctx, "select 1")
		require.NoError(t, err)
		_, err = p.Exec(ctx, "select set_config('app.x', '', false)")
		require.NoError(t, err)
		eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
	}
	for range 4 {
		_, err := p.Exec(ctx, "select/**/set_config('app.x', 'x', false)")
		require.NoError(t, err)
		var x string
		require.NoError(t, p.QueryRow(ctx, "select coalesce(current_setting('app.x', true), '')").Scan(&x))
		if !assert.Empty(t, x) {
			return
		}
	}
}

// A function that prepares is called before the pool knows it.
func TestANewFunctionThatPreparesLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(passBase)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	for range 5 {
		_, err := p.Exec(ctx, "update t set n = n + 1 where id = 1")
		require.NoError(t, err)
		eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
	}
	see.exec(`create function p() returns int language plpgsql as $$ begin execute 'prepare leaked as select 1'; return 1; end $$`)
	_, err := p.Exec(ctx, "select p()")
	require.NoError(t, err)
	assert.Zero(t, func() (n int) {
		require.NoError(t, p.QueryRow(ctx, "select count(*) from pg_prepared_statements where name = 'leaked'").Scan(&n))
		return n
	}())
}

// byChanges are about what is derived by names that change, and about sequences.
var byChanges = []passing{
	{
		name:  "search_path of the session, and lastval",
		setup: passBase + `create schema other; create table other.t (id serial, n int);`,
		run:   [][]string{{"set search_path = other", "insert into t (n) values (1)"}},
		tx:    true,
		judge: "select lastval()::text",
	},
	{
		name:  "role, and lastval",
		setup: passBase + `create schema bob authorization bob; create sequence bob.s; create table bob.t (id int default nextval('bob.s'), n int); grant all on bob.t, bob.s to bob;`,
		run:   [][]string{{"set local role bob", "insert into t (n) values (4)"}},
		tx:    true,
		judge: "select lastval()::text",
	},
	{
		name:  "defaults of arguments, and lastval",
		setup: passBase + `create function f(x bigint default nextval('seq')) returns bigint language plpgsql as $$ begin return x; end $$;`,
		run:   [][]string{{"select f()"}},
		judge: "select lastval()::text",
	},
	{
		name:  "defaults of arguments, and a lock",
		setup: passBase + `create function f(x boolean default pg_try_advisory_lock(99)) returns boolean language plpgsql as $$ begin return x; end $$;`,
		run:   [][]string{{"select f()"}},
	},
	{
		name: "a trigger's function is renamed, and another takes its name",
		setup: passBase + `create function audit() returns trigger language plpgsql as $$ begin perform set_config('app.trigger', 'audit', false); return new; end $$;
			create trigger tr before update on t for each row execute function audit();`,
		run: [][]string{{"update t set n = 2 where id = 1"}},
		later: `alter function audit() rename to audit_old;
			create function audit() returns trigger language plpgsql as $$ begin return new; end $$;`,
		wait: 2500 * time.Millisecond,
	},
	{
		name: "a function of a check is renamed, and another takes its name",
		setup: passBase + `create function good(int) returns boolean language plpgsql as $$ begin perform set_config('app.trigger', 'check', false); return true; end $$;
			alter table t add check (good(n));`,
		run: [][]string{{"update t set n = 2 where id = 1"}},
		later: `alter function good(int) rename to good_old;
			create function good(int) returns boolean language plpgsql as $$ begin return true; end $$;`,
		wait: 2500 * time.Millisecond,
	},
	{
		name: "a function of a view is renamed, and another takes its name",
		setup: passBase + `create function good(int) returns boolean language plpgsql as $$ begin perform set_config('app.trigger', 'view', false); return true; end $$;
			create view v as select * from t where good(n);`,
		run: [][]string{{"select * from v"}},
		later: `alter function good(int) rename to good_old;
			create function good(int) returns boolean language plpgsql as $$ begin return true; end $$;`,
		wait: 2500 * time.Millisecond,
	},
	{
		name: "an operator's function is renamed",
		setup: passBase + `create function op(int, int) returns int language plpgsql as $$ begin perform set_config('app.trigger', 'op', false); return 1; end $$;
			create operator @+@ (leftarg = int, rightarg = int, function = op);`,
		run:   [][]string{{"select 1 @+@ 2"}},
		later: `alter function op(int, int) rename to op_old;`,
		wait:  2500 * time.Millisecond,
	},
	{
		name: "a table of an atomic body is renamed",
		setup: passBase + `create function f() returns void language sql begin atomic update fired set n = 2 where id = 1; end; alter table fired rename to fired_old; alter table t rename to fired;
			alter table fired rename to x; alter table fired_old rename to fired;`,
		run:   [][]string{{"select f()"}},
		later: `alter table fired rename to fired_old; create table fired (id int, n int);`,
		wait:  2500 * time.Millisecond,
	},
	{
		name: "a label in front of an update",
		setup: passBase + `create function f() returns int language plpgsql as $$ declare x int; begin <<l>> begin <<m>> for i in 1..1 loop if exists(select from t for update) then null; end if; end loop; end; update fired set n = 3 where id = 1; return 1; end $$;
			`,
		run: [][]string{{"select f()"}},
	},
	{
		name: "a slice with a call",
		setup: passBase + `create function sets() returns int language plpgsql as $$ begin perform set_config('app.trigger', 'slice', false); return 2; end $$;
			create function f() returns int[] language plpgsql as $$ declare a int[] := '{1,2,3}'; begin a[1:sets()] := '{4,5}'; return a; end $$;`,
		run: [][]string{{"select f()"}, {"select ('{1,2,3}'::int[])[:sets()]"}},
	},
	{
		name: "default in a declaration",
		setup: passBase + `create function f() returns text language plpgsql as $$ declare x text default set_config('app.trigger', 'declared', false); begin return x; end $$;
			create function g() returns text language plpgsql as $$ declare c cursor (a text) for select set_config('app.trigger', a, false); x text; begin open c(a := 'c'); fetch c into x; return x; end $$;`,
		run: [][]string{{"select f()"}, {"select g()"}},
	},
	{
		name: "attributes",
		setup: passBase + `create function of(fired) returns text language sql as $$ select set_config('app.trigger', 'attribute', false) $$;
			create function f() returns text language plpgsql as $$ declare r fired; begin select * into r from fired limit 1; return r.of; end $$;
			create function g() returns text language sql as $$ select (x).of from fired x limit 1 $$;
			create function h() returns text language sql as $$ select array_agg(x.*)::text || max(x.of) from fired x $$;`,
		run: [][]string{{"select f()"}, {"select g()"}, {"select h()"}},
	},
	{
		name: "transition tables and partitions",
		setup: passBase + `create table p (id int, n int) partition by range (id); create table p1 partition of p for values from (0) to (100); create table p2 partition of p for values from (100) to (200);
			insert into p values (1); create trigger tr after insert on p2 for each row execute function leaves();
			create function f() returns void language sql as $$ update p set id = id + 100 where id = 1 $$;`,
		run: [][]string{{"select f()"}, {"delete from p"}, {"insert into p values (1)"}, {"update p set id = id + 100 where id = 1"}},
	},
	{
		name:  "a type's default",
		setup: passBase + `create domain d as text default set_config('app.trigger', 'domain', false); create table dd (id int, x d); create function f() returns void language plpgsql as $$ begin insert into dd (id) values (1); end $$;`,
		run:   [][]string{{"select f()"}, {"insert into dd (id) values (1)"}},
	},
	{
		name: "an update to default",
		setup: passBase + `create table dd (id int, x text default set_config('app.trigger', 'default', false)); insert into dd values (1); create function f() returns void language plpgsql as $$ begin update dd set x = default; end $$;
			create function g() returns void language plpgsql as $$ begin update dd set (id, x) = row(1, default); end $$;`,
		run: [][]string{{"select f()"}, {"select g()"}},
	},
	{
		name: "set null sets what a trigger sees",
		setup: passBase + `create table child (id int references t on delete set null); insert into child values (1), (2), (3), (4), (5), (6), (7); create trigger tr after update on child for each row execute function leaves();
			create function f() returns void language sql as $$ delete from t where id = (select min(id) from t) $$;`,
		run: [][]string{{"select f()"}, {"delete from t where id = (select min(id) from t)"}},
	},
	{
		name:  "a cascade of two steps",
		setup: passBase + `create table c1 (id int primary key references t on delete cascade); create table c2 (id int references c1 on delete cascade) partition by range (id); create table c21 partition of c2 for values from (0) to (100); insert into c1 select id from t; insert into c2 select id from t; create trigger tr before delete on c21 for each row execute function leaves();`,
		run:   [][]string{{"delete from t where id = (select min(id) from t)"}, {"with d as (delete from only t where id = (select min(id) from t) returning id) select * from d"}},
	},
}

func TestNothingPassesByChanges(t *testing.T) {
	for _, a := range byChanges {
		t.Run(a.name, a.on)
	}
}

// EXPLAIN ANALYZE runs a function that the pool never asks about.
func TestExplainOfANewFunctionLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(passBase)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	for range 5 {
		_, err := p.Exec(ctx, "update t set n = n + 1 where id = 1")
		require.NoError(t, err)
		eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
	}
	see.exec(`create function p() returns int language plpgsql as $$ begin execute 'deallocate all; prepare leaked as select 1'; return 1; end $$`)
	time.Sleep(2500 * time.Millisecond)
	for range 3 {
		_, err := p.Exec(ctx, "explain analyze select p()")
		require.NoError(t, err)
		var n int
		require.NoError(t, p.QueryRow(ctx, "select count(*) from pg_prepared_statements where name = 'leaked'").Scan(&n))
		if !assert.Zero(t, n) {
			return
		}
		eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
		time.Sleep(time.Second)
	}
}

// The values of sequences that a lease has drawn, by names that meant something else than in a clean session.
func TestNoValueOfASequencePassesByOtherNames(t *testing.T) {
	for name, a := range map[string]passing{
		"search_path": {
			setup: `create schema other; create table other.t (id serial, n int);`,
			run:   [][]string{{"set search_path = other", "insert into t (n) values (1)"}},
		},
		"role": {
			setup: `create schema bob authorization bob; create sequence bob.s; create table bob.t (id int default nextval('bob.s'), n int); grant all on bob.t, bob.s to bob;`,
			run:   [][]string{{"set local role bob", "insert into t (n) values (4)"}},
		},
		"default of an argument": {
			setup: `create function f(x bigint default nextval('seq')) returns bigint language plpgsql as $$ begin return x; end $$;`,
			run:   [][]string{{"select f()"}},
		},
		"search_path of the database, later": {
			setup: `create schema other; create table other.t (id serial, n int);`,
			run:   [][]string{{"select set_config('search_path', 'other', false)", "insert into t (n) values (1)"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, dsn := bounded(t), pgtest.Database(t)
			see := newInspector(t, dsn)
			see.exec(passBase + a.setup)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
			for range 4 {
				tx, err := p.Begin(ctx)
				require.NoError(t, err)
				for _, sql := range a.run[0] {
					_, err = tx.Exec(ctx, sql)
					require.NoError(t, err)
				}
				require.NoError(t, tx.Commit(ctx))
				eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
				var n int64
				if !assert.ErrorContains(t, p.QueryRow(ctx, "select lastval()").Scan(&n), "not yet defined") {
					return
				}
			}
		})
	}
}

// byOtherCode are the rest.
var byOtherCode = []passing{
	{
		name: "abbreviations of time zones",
		setup: passBase + `create function inside() returns float8 language plpgsql as $$ begin return extract(epoch from timestamptz '2024-01-01 00:00 IST'); end $$;
			create function f() returns float8 language plpgsql set timezone_abbreviations = 'India' as $$ begin return inside(); end $$;`,
		run:   [][]string{{"select f()"}},
		judge: "select inside()::text",
	},
	{
		name: "an origin of replication in a body",
		setup: passBase + `select pg_replication_origin_create('origin_$DB'); create function f() returns void language plpgsql as $$ begin
			if not pg_replication_origin_session_is_setup() then perform pg_replication_origin_session_setup('origin_$DB'); end if; end $$;`,
		run:   [][]string{{"select f()"}},
		judge: "select pg_replication_origin_session_is_setup()::text",
	},
	{
		name: "owner's schema, nested",
		setup: passBase + `create schema bob authorization bob; create table bob.t (id int, n int); grant all on bob.t to bob; grant all on t to bob;
			create trigger tr before insert on bob.t for each row execute function leaves();
			create function g() returns void language plpgsql as $$ begin insert into t (id) values (6) on conflict do nothing; end $$;
			create function f() returns void language plpgsql security definer as $$ begin perform g(); end $$; alter function f() owner to bob;`,
		run: [][]string{{"select f()"}},
	},
	{
		name: "rules in a body",
		setup: passBase + `create rule r as on insert to t do also select set_config('app.trigger', 'rule', false); create function f() returns void language plpgsql as $$ begin insert into t values (floor(random() * 1000000) + 100); end $$;
			create table quiet (id int); create rule r as on update to quiet do also update fired set n = 3; insert into quiet values (1); create function g() returns void language sql as $$ update quiet set id = 2 $$;`,
		run: [][]string{{"select f()"}, {"select g()"}, {"update quiet set id = 3"}},
	},
	{
		name: "xml and text search run queries",
		setup: passBase + `create function f() returns void language plpgsql as $$ begin perform query_to_xml($q$select set_config('app.trigger', 'xml', false)$q$, true, true, ''); end $$;
			create function g() returns void language plpgsql as $$ begin perform ts_stat('select to_tsvector(set_config(''app.trigger'', ''ts'', false))'); end $$;
			create function h() returns void language sql as $$ select ts_rewrite('a'::tsquery, 'select ''a''::tsquery, set_config(''app.trigger'', ''b'', false)::tsquery') $$;`,
		run: [][]string{{"select f()"}, {"select g()"}, {"select h()"}},
	},
	{
		name: "operators and casts of built-in functions",
		setup: passBase + `create operator !!! (rightarg = bigint, function = pg_advisory_lock); create operator ### (rightarg = float8, function = setseed); create operator *** (rightarg = regclass, function = nextval);
			create function f() returns void language plpgsql as $$ begin perform !!! 5::bigint; end $$; create function g() returns bigint language sql as $$ select *** 'seq'::regclass $$;`,
		run:   [][]string{{"select f()"}, {"select !!! 6::bigint"}, {"select g()"}},
		judge: "select lastval()::text",
	},
	{
		name: "functions in internal and with the name of a built-in",
		setup: passBase + `create function mine(text, text, boolean) returns text language internal as 'set_config_by_name'; create schema front; create function front.lower(text) returns text language sql as $$ select mine('app.trigger', $1, false) $$;
			create function f() returns text language plpgsql set search_path = front, pg_catalog, public as $$ begin return lower('X'); end $$; create function g() returns text language plpgsql as $$ begin return mine('app.trigger', 'y', false); end $$;`,
		run: [][]string{{"select f()"}, {"select g()"}, {"select mine('app.trigger', 'z', false)"}},
	},
	{
		name: "what is inserted by a select, returned, and in foreach",
		setup: passBase + `create function sets(int) returns int language plpgsql as $$ begin perform set_config('app.trigger', 'x', false); return $1; end $$;
			create function f() returns int language plpgsql as $$ declare x int; a int[] := '{1,2}'; begin foreach x in array a loop continue when sets(x) > 5; end loop; return x; end $$;
			create function g() returns setof int language plpgsql as $$ begin return next sets(1); return query select sets(2); end $$;
			create function h() returns int language plpgsql as $$ declare x int; begin get diagnostics x = row_count; case sets(1) when 2 then x := 3; else null; end case; return x; end $$;
			create function i() returns int language plpgsql as $$ declare r record; begin insert into t select sets(88) on conflict do nothing returning * into r; <<exit_>> begin null; end; return 1; exception when others then return sets(2); end $$;`,
		run: [][]string{{"select f()"}, {"select g()"}, {"select h()"}},
	},
}

func TestNothingPassesByOtherCode(t *testing.T) {
	for _, a := range byOtherCode {
		t.Run(a.name, a.on)
	}
}

// DEALLOCATE ALL by a function that came after the pool had asked: to the next users pgx's statements are gone.
func TestDeallocateAllInANewFunctionHurtsNobody(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(passBase)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	for i := range 5 {
		var n int
		require.NoError(t, p.QueryRow(ctx, "select n from t where id = $1", i+1).Scan(&n))
		eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
	}
	see.exec(`create function d() returns int language plpgsql as $$ begin execute 'deallocate all'; return 1; end $$`)
	_, err := p.Exec(ctx, "select d()")
	require.NoError(t, err)
	for i := range 3 {
		var n int
		assert.NoError(t, p.QueryRow(ctx, "select n from t where id = $1", i+1).Scan(&n))
	}
}

// The statements that AfterConnect has prepared are there for each invocation.
func TestWhatAfterConnectHasPreparedComesBack(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(passBase)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Prepare(ctx, "mine", "select n from t where id = $1")
		return err
	}})
	var n int
	for i := range 5 {
		require.NoError(t, p.QueryRow(ctx, "mine", i+1).Scan(&n))
		eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
	}
	see.exec(`create function d() returns int language plpgsql as $$ begin execute 'deallocate mine'; return 1; end $$`)
	_, err := p.Exec(ctx, "select d()")
	require.NoError(t, err)
	for i := range 3 {
		assert.NoError(t, p.QueryRow(ctx, "mine", i+1).Scan(&n))
	}
}

// What a function has planned under another setting, which the pool does not look for, is kept.
func TestNoPlanKeepsAbbreviations(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(`create table t (id int primary key, n int);
		create function inside() returns float8 language plpgsql as $$ begin return extract(epoch from timestamptz '2024-01-01 00:00 IST'); end $$;
		create function f() returns float8 language plpgsql set timezone_abbreviations = 'India' as $$ begin return inside(); end $$;`)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	for range 5 {
		_, err := p.Exec(ctx, "update t set n = n + 1 where id = 1")
		require.NoError(t, err)
		eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
	}
	_, err := p.Exec(ctx, "select f()")
	require.NoError(t, err)
	assert.Equal(t, freshText(t, dsn, "select inside()::text"), oneText(t, p, "select inside()::text"))
}

// isn_weak is IMMUTABLE, so it rides, and what it sets is there for whoever rides or gets the connection next.
func TestWeakNumbersAreNotPassedOn(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	newInspector(t, dsn).exec("create extension isn")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	why, err := p.Findings(ctx, "select isn_weak(true)")
	require.NoError(t, err)
	assert.NotEmpty(t, why, "it rides")
	var s string
	require.Error(t, p.QueryRow(ctx, "select isbn('978-0-11-000533-9')::text").Scan(&s), "the check digit is wrong")
	_, err = p.Exec(ctx, "select isn_weak(true)")
	require.NoError(t, err)
	assert.Error(t, p.QueryRow(ctx, "select isbn('978-0-11-000533-9')::text").Scan(&s))
}

// A deferred trigger, and a trigger on a partition that is attached later, and a function that is replaced, all noticed in time.
func TestNothingPassesByRenames(t *testing.T) {
	for _, a := range []passing{
		{
			name: "attached later",
			setup: passBase + `create table p (id int, n int) partition by range (id); create table p1 (id int, n int); insert into p1 values (1); create trigger tr before update on p1 for each row execute function leaves();
				create function f() returns void language sql as $$ update p set n = 2 $$;`,
			run:   [][]string{{"select f()"}},
			later: `alter table p attach partition p1 for values from (0) to (100)`,
			wait:  2500 * time.Millisecond,
		},
		{
			name:  "replaced later",
			setup: passBase + `create function g() returns int language sql as $$ select 1 $$; create function f() returns int language plpgsql as $$ begin return g(); end $$;`,
			run:   [][]string{{"select f()"}},
			later: `create or replace function g() returns int language plpgsql as $$ begin perform set_config('app.trigger', 'g', false); return 1; end $$`,
			wait:  2500 * time.Millisecond,
		},
		{
			name:  "a schema in front comes later",
			setup: passBase + `create schema other; create function f() returns void language plpgsql set search_path = other, public as $$ begin update t set n = 3 where id = 1; end $$;`,
			run:   [][]string{{"select f()"}},
			later: `create table other.t (id int, n int); insert into other.t values (1); create trigger tr before update on other.t for each row execute function leaves();`,
			wait:  2500 * time.Millisecond,
		},
		{
			name:  "security definer comes later",
			setup: passBase + `create schema bob authorization bob; create table bob.t (id int, n int); insert into bob.t values (1); grant all on bob.t to bob; grant all on t to bob; create trigger tr before update on bob.t for each row execute function leaves(); create function f() returns void language plpgsql as $$ begin update t set n = 3 where id = 1; end $$; `,
			run:   [][]string{{"select f()"}},
			later: `alter function f() owner to bob; alter function f() security definer`,
			wait:  2500 * time.Millisecond,
		},
		{
			name:  "a foreign key comes later",
			setup: passBase + `create table child (id int); insert into child values (1), (2), (3), (4), (5); create trigger tr before delete on child for each row execute function leaves();`,
			run:   [][]string{{"delete from t where id = (select min(id) from t)"}},
			later: `insert into t select i from generate_series(1, 5) i on conflict do nothing; alter table child add foreign key (id) references t on delete cascade`,
			wait:  2500 * time.Millisecond,
		},
		{
			name:  "a shadow of a built-in comes later",
			setup: passBase + `create schema front; create function f() returns text language plpgsql set search_path = front, pg_catalog, public as $$ begin return lower('X'); end $$;`,
			run:   [][]string{{"select f()"}},
			later: `create function front.lower(text) returns text language sql as $$ select set_config('app.trigger', $1, false) $$`,
			wait:  2500 * time.Millisecond,
		},
	} {
		t.Run(a.name, a.on)
	}
}
