package pool_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// setupSchema has ways to set a setting whose name is not in the statement.
const setupSchema = `
create function in_function(n text, v text) returns void language plpgsql as $$ begin perform set_config(n, v, false); end $$;
create function fixed() returns int language plpgsql as $$ begin perform set_config('app' || '.region', 'eu', false); return 1; end $$;
create procedure proc() language plpgsql as $$ begin perform set_config('app.region', 'eu', false); end $$;
create view hidden as select fixed();
create table one (id int); insert into one values (1);
create function region(one) returns int language plpgsql as $$ begin perform set_config('app.region', 'eu', false); return 1; end $$;
create table names (n text, v text); insert into names values ('app.region', 'eu');
create table triggered (v text);
create function on_write() returns trigger language plpgsql as $$ begin perform set_config('app.region', 'eu', false); return new; end $$;
create trigger tr before insert on triggered for each row execute function on_write();`

// setup is an AfterConnect that runs statements.
func setup(statements ...string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, c *pgx.Conn) error {
		for _, sql := range statements {
			if _, err := c.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}
}

// Whatever way AfterConnect has set a setting of its own, each invocation has it: it is set again, or, where nobody can
// tell, the connection is closed rather than reset.
func TestWhatAfterConnectSetsInWhateverWayIsThereForEach(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec(setupSchema)
	type way struct {
		after  func(context.Context, *pgx.Conn) error
		closes bool
		before func(*pgx.ConnConfig)
	}
	for name, w := range map[string]way{
		"SET":             {after: setup("set app.region = 'eu'")},
		"SET in capitals": {after: setup("SET App.REGION TO 'eu'")},
		"SET in quotes":   {after: setup(`set "app"."Region" = 'eu'`)},
		"SET in one pair": {after: setup(`set session "app.region" = 'eu'`)},
		"several":         {after: setup("set work_mem = '7MB'; /* ; */ set app.region = 'eu'; select 1")},
		"set_config":      {after: setup("select pg_catalog.set_config('app.region', 'eu', false)")},
		"a cast":          {after: setup("select set_config('app.region'::text, 'eu', false) from pg_namespace limit 1")},
		"a parameter": {after: func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, "select set_config($1, $2, false)", "app.region", "eu")
			return err
		}},
		"a named statement": {after: func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Prepare(ctx, "mine", "select set_config($1::text, 'eu', false)")
			if err != nil {
				return err
			}
			_, err = c.Exec(ctx, "mine", "app.region")
			return err
		}},
		"a batch": {after: func(ctx context.Context, c *pgx.Conn) error {
			var b pgx.Batch
			b.Queue("select set_config($1, $2, false)", "app.region", "eu")
			b.Queue("select 1")
			return c.SendBatch(ctx, &b).Close()
		}},
		"a transaction": {after: func(ctx context.Context, c *pgx.Conn) error {
			return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, "set app.region = 'eu'"); return err })
		}},
		"prepared, and not run": {after: setup("set app.region = 'eu'", "prepare p as select fixed()")},
		"types": {after: func(ctx context.Context, c *pgx.Conn) error {
			if _, err := c.LoadTypes(ctx, []string{"one"}); err != nil {
				return err
			}
			return setup("set app.region = 'eu'")(ctx, c)
		}},
		"a backslash": {after: setup(`set app.other = 'a\b'`, "set app.region = 'eu'")},
		"ValidateConnect": {before: func(c *pgx.ConnConfig) {
			c.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
				return pc.Exec(ctx, "set app.region = 'eu'").Close()
			}
		}},
		"pgconn's AfterConnect": {before: func(c *pgx.ConnConfig) {
			c.Config.AfterConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
				return pc.Exec(ctx, "set app.region = 'eu'").Close()
			}
		}},
		"the connection string":    {before: func(c *pgx.ConnConfig) { c.RuntimeParams["options"] = "-c app.region=eu" }},
		"a parameter of the start": {before: func(c *pgx.ConnConfig) { c.RuntimeParams["app.region"] = "eu" }},
		"escapes":                  {closes: true, after: setup(`select set_config(E'app\x2eregion', 'eu', false)`)},
		"U&":                       {closes: true, after: setup(`set U&"\0061pp".region = 'eu'`)},
		"put together":             {closes: true, after: setup("select set_config('app' || '.region', 'eu', false)")},
		"a parameter put together": {closes: true, after: func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, "select set_config($1 || '.region', $2, false)", "app", "eu")
			return err
		}},
		"out of a table":        {closes: true, after: setup("select set_config(n, v, false) from names")},
		"a function":            {closes: true, after: setup("select in_function('app.region', 'eu')")},
		"a function without it": {closes: true, after: setup("select fixed()")},
		"DO":                    {closes: true, after: setup("do $$ begin perform set_config('app.region', 'eu', false); end $$")},
		"CALL":                  {closes: true, after: setup("call proc()")},
		"EXECUTE":               {closes: true, after: setup("prepare p as select fixed()", "execute p")},
		"a view":                {closes: true, after: setup("select * from hidden")},
		"a field":               {closes: true, after: setup("select o.region from one o")},
		"a trigger":             {closes: true, after: setup("insert into triggered values ('x')")},
		"the second of several": {closes: true, after: setup("select 1; select fixed()")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, l := bounded(t), &logs{}
			c := &pool.Config{MaxConns: 1, AfterConnect: w.after, Logger: l.logger()}
			if w.before != nil {
				c.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error { w.before(cc); return nil }
			}
			p := newPoolAt(t, dsn, c)
			for i := range 6 {
				var region string
				require.NoError(t, p.QueryRow(ctx, "select coalesce(current_setting('app.region', true), 'none') || case when $1 > 100 then 'x' else '' end", i).Scan(&region))
				assert.Equal(t, "eu", region, "use %d", i)
				_, err := p.Exec(ctx, []string{"set work_mem = '9MB'", "do $$ begin perform set_config('app.region', 'us', false); end $$"}[i%2])
				require.NoError(t, err)
				eventually(t, "it is settled", func() bool { s := p.Stat(); return s.IdleConns() == 1 || s.TotalConns() == 0 })
			}
			warned := slices.ContainsFunc(l.lines(), func(s string) bool { return strings.Contains(s, "AfterConnect runs what may set any setting") })
			if w.closes {
				assert.Greater(t, p.Stat().NewConnsCount(), int64(3))
			} else {
				assert.EqualValues(t, 1, p.Stat().NewConnsCount(), "%s", l.lines())
			}
			assert.Equal(t, w.closes, warned, "it is logged")
		})
	}
}

// state is what a session shows: all settings, its name without the pool's id, and who it is.
func state(ctx context.Context, c prober) ([]string, error) {
	r, err := c.Query(ctx, `select 'setting ' || name || ' = ' || regexp_replace(coalesce(setting, ''), '^lmipool/[^/]*/', '') from pg_settings where name !~ '^(transaction_|in_hot_standby)' and name !~ '^plpgsql'
		union all select 'user ' || current_user || ' ' || session_user || ' ' || current_setting('role')
		union all select 'custom ' || coalesce(current_setting('app.custom', true), '') || coalesce(current_setting('app.more', true), '')
		union all select 'temporary ' || proname from pg_proc where pronamespace = pg_my_temp_schema()
		order by 1`, pgx.QueryExecModeExec)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(r, pgx.RowTo[string])
}

// allSettings are values that every setting that can be set in a session may have, other than its default.
func allSettings(t *testing.T, dsn string) (set [][2]string) {
	t.Helper()
	ctx := bounded(t)
	c, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer c.Close(ctx)
	r, err := c.Query(ctx, `select name, vartype, coalesce(setting, ''), coalesce(max_val, ''), coalesce(enumvals, '{}') from pg_settings where context in ('user', 'superuser') order by name`)
	require.NoError(t, err)
	strs := map[string]string{
		"application_name": "mine", "DateStyle": "German, YMD", "IntervalStyle": "iso_8601", "TimeZone": "Asia/Kathmandu", "search_path": `other, "$user", "odd, one"`, "log_timezone": "Asia/Tokyo",
		"default_text_search_config": "pg_catalog.german", "backtrace_functions": "a,b", "lc_messages": "C", "session_replication_role": "replica", "temp_tablespaces": "",
		"timezone_abbreviations": "Australia", "createrole_self_grant": "set, inherit", "restrict_nonsystem_relation_kind": "view", "dynamic_library_path": "$libdir:/tmp", "local_preload_libraries": "",
	}
	for r.Next() {
		var name, kind, setting, most string
		var enum []string
		require.NoError(t, r.Scan(&name, &kind, &setting, &most, &enum))
		value, ok := strs[name]
		switch {
		case ok:
		case kind == "bool":
			value = map[string]string{"on": "off", "off": "on"}[setting]
		case kind == "enum":
			enum = slices.DeleteFunc(enum, func(e string) bool {
				return e == setting || strings.HasPrefix(e, "debug") || e == "panic" || e == "fatal"
			})
			if len(enum) == 0 {
				continue
			}
			value = enum[len(enum)/2]
		case kind == "integer":
			n, _ := strconv.Atoi(setting)
			if n < 1000 && strings.Contains(name, "timeout") {
				n = 3_000_000
			}
			value = strconv.Itoa(n + 1)
			if value > most && len(value) >= len(most) {
				value = strconv.Itoa(n - 1)
			}
		case kind == "real":
			n, _ := strconv.ParseFloat(setting, 64)
			value = strconv.FormatFloat(n*0.987654321+0.0123456789, 'g', -1, 64)
		default:
			continue
		}
		if slices.Contains([]string{"standard_conforming_strings", "server_version", "default_transaction_read_only", "debug_discard_caches", "exit_on_error"}, name) {
			continue // pgx relies on it; what follows writes; it is slow; some settings are refused
		}
		set = append(set, [2]string{name, value})
	}
	require.NoError(t, r.Err())
	return set
}

// After a reset a session is as AfterConnect left it: all settings there are, in each way to set them.
func TestAResetLeadsBackToAllSettings(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	server := newInspector(t, dsn)
	server.exec("create schema other; create function public.apply(n text, v text) returns void language plpgsql as $$ begin perform set_config(n, v, false); exception when others then null; end $$")
	all := allSettings(t, dsn)
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	each := func(sql func(n, v string) string) func(context.Context, *pgx.Conn) error {
		return func(ctx context.Context, c *pgx.Conn) error {
			for _, s := range append(slices.Clone(all), [2]string{"app.custom", `it's "a\b", ü`}, [2]string{"app.more", "x"}) {
				_, _ = c.Exec(ctx, sql(s[0], s[1])) // some need what is not there
			}
			return c.Ping(ctx)
		}
	}
	isList := func(n string) bool { return n == "search_path" || n == "DateStyle" }
	for name, after := range map[string]func(context.Context, *pgx.Conn) error{
		"SET": each(func(n, v string) string {
			if isList(n) {
				return "set " + n + " = " + v
			}
			return "set " + n + " = " + quote(v)
		}),
		"set_config": each(func(n, v string) string {
			return "select set_config(" + quote(n) + ", " + quote(strings.ReplaceAll(v, `\b`, "b")) + ", false)"
		}),
		"function": each(func(n, v string) string { return "select public.apply(" + quote(n) + ", " + quote(v) + ")" }),
		"DO": each(func(n, v string) string {
			return "do $$ begin perform public.apply(" + quote(n) + ", " + quote(v) + "); end $$"
		}),
		"nothing": nil,
	} {
		for spoils, spoil := range map[string]string{"SET": "set work_mem = '99MB'", "all": "do $$ begin perform set_config(name, reset_val, false) from pg_settings where context = 'user' and name !~ 'timeout|transaction|role'; perform set_config('app.custom', 'theirs', false); end $$"} {
			t.Run(name+", "+spoils, func(t *testing.T) {
				t.Parallel()
				ctx := bounded(t)
				p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, AfterConnect: after, Logger: (&logs{}).logger()})
				c, err := pgx.Connect(ctx, dsn)
				require.NoError(t, err)
				defer c.Close(ctx)
				if after != nil {
					require.NoError(t, after(ctx, c))
				}
				want, err := state(ctx, c)
				require.NoError(t, err)
				for range 3 {
					_, err := p.Exec(ctx, spoil)
					require.NoError(t, err)
					var got []string
					require.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) (err error) { got, err = state(ctx, l); return err }))
					slices.Sort(got)
					sorted := slices.Sorted(slices.Values(want))
					assert.Empty(t, missing(got, sorted), "left")
					assert.Empty(t, missing(sorted, got), "lost")
				}
				t.Logf("%d settings set; %d connections", len(all), p.Stat().NewConnsCount())
				if name == "SET" || name == "nothing" {
					assert.EqualValues(t, 1, p.Stat().NewConnsCount())
				}
				if name == "set_config" { // a look at so many statements may fail, on a busy machine
					assert.LessOrEqual(t, p.Stat().NewConnsCount(), int64(3))
				}
			})
		}
	}
}

// The same of what is no setting, or not in the list.
func TestAResetKeepsWhatElseASessionBeganWith(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	server := newInspector(t, dsn)
	role := "began_" + server.database()
	server.exec(fmt.Sprintf(`create role %[1]s_login login superuser; create role %[1]s_role; grant %[1]s_role to %[1]s_login; alter role %[1]s_login set work_mem = '11MB'; alter role %[1]s_login set app.custom = 'of the role';
		create function become() returns void language plpgsql as $$ begin set session authorization %[1]s_role; end $$; create sequence s`, role))
	t.Cleanup(func() {
		server.exec(fmt.Sprintf("drop role if exists %[1]s_login; drop role if exists %[1]s_role", role))
	})
	for name, w := range map[string]struct {
		after  func(context.Context, *pgx.Conn) error
		params map[string]string
		closes bool
	}{
		"a role of the start":             {params: map[string]string{"role": role + "_role"}},
		"ALTER ROLE SET":                  {},
		"settings of the start":           {params: map[string]string{"work_mem": "13MB", "search_path": "pg_catalog", "app.custom": "x", "client_min_messages": "error"}},
		"a role":                          {after: setup("set role " + role + "_role")},
		"a session's user":                {after: setup("set session authorization " + role + "_role")},
		"a session's user, in a function": {after: setup("select become()"), closes: true},
		"exit_on_error":                   {after: setup("set exit_on_error = on")},
		"a function in pg_temp":           {after: setup("create function pg_temp.mine() returns int language sql as 'select 1'"), closes: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, AfterConnect: w.after, Logger: (&logs{}).logger(), BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
				c.User = role + "_login"
				maps.Copy(c.RuntimeParams, w.params)
				return nil
			}})
			var want []string
			for i := range 5 {
				var got []string
				require.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) (err error) { got, err = state(ctx, l); return err }))
				if i == 0 {
					want = got
				}
				assert.Equal(t, want, got)
				_, err := p.Exec(ctx, "set work_mem = '99MB'")
				require.NoError(t, err)
			}
			assert.Equal(t, w.closes, p.Stat().NewConnsCount() > 1)
		})
	}
}

// AfterConnect's own values of sequences are there for each, and nobody else's.
func TestTheValuesThatAfterConnectDrewAreThereForEach(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	newInspector(t, dsn).exec("create sequence worker; create sequence other")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, AfterConnect: setup("select nextval('worker')")})
	for i := range 6 {
		_, err := p.Exec(ctx, []string{"select nextval('other')", "set work_mem = '9MB'", "do $$ begin perform nextval('other'); end $$"}[i%3])
		require.NoError(t, err)
		var same bool
		require.NoError(t, p.QueryRow(ctx, "select currval('worker') = lastval()").Scan(&same))
		assert.True(t, same)
		_, err = p.Exec(ctx, "select currval('other')")
		assert.ErrorContains(t, err, "55000")
	}
}

// Whoever sets the seed, in whatever way, does not know what the next one calls random.
func TestNobodyKnowsTheNextOnesSeed(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	server := newInspector(t, dsn)
	server.exec(`create function seeds() returns void language plpgsql as $$ begin perform setseed(0.5); end $$; create view seeding as select setseed(0.5)::text;
		create function sets() returns void language plpgsql as $$ begin set seed = 0.5; end $$`)
	var known float64
	require.NoError(t, server.c.QueryRow(context.Background(), "select random() from (select setseed(0.5)) s").Scan(&known))
	server.exec("select setseed(0.5)")
	require.NoError(t, server.c.QueryRow(context.Background(), "select random()").Scan(&known))
	for _, sql := range []string{
		"select setseed(0.5)", "set seed = 0.5", "select set_config('seed', '0.5', false)", "select set_config('se' || 'ed', '0.5', true)", "select set_config($1, '0.5', false)",
		"select seeds()", "select sets()", "do $$ begin set seed = 0.5; end $$", "do $$ begin perform set_config('seed', '0.5', true); end $$", "select * from seeding", "set local seed = 0.5",
		"select pg_catalog.setseed(0.5), 1",
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
			for range 5 {
				tx, err := p.Begin(ctx)
				require.NoError(t, err)
				var args []any
				if strings.Contains(sql, "$1") {
					args = append(args, "seed")
				}
				_, err = tx.Exec(ctx, sql, args...)
				require.NoError(t, err)
				require.NoError(t, tx.Commit(ctx))
				var got float64
				require.NoError(t, p.QueryRow(ctx, "select random()").Scan(&got))
				assert.NotEqual(t, known, got)
			}
			assert.EqualValues(t, 1, p.Stat().NewConnsCount())
		})
	}
}

// Without PL/pgSQL statements prepared in SQL go all the same, and no connection with them.
func TestAResetNeedsNoPLpgSQL(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]string{
		"no right to use it": "revoke usage on language plpgsql from public",
		"none":               "drop extension plpgsql",
		"hostile settings":   "alter role %[1]s set plpgsql.extra_errors = 'all'; alter role %[1]s set plpgsql.variable_conflict = 'error'; alter role %[1]s set check_function_bodies = on; alter role %[1]s set exit_on_error = on; alter role %[1]s set quote_all_identifiers = on",
		"a role of its own":  "revoke usage on language plpgsql from public; grant usage on language plpgsql to %[1]s; create role %[1]s_app; grant %[1]s_app to %[1]s; alter role %[1]s set app.was = '%[1]s_app'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, dsn := bounded(t), pgtest.Database(t)
			server := newInspector(t, dsn)
			role := "plain_" + server.database()
			server.exec("create role " + role + " login")
			server.exec("create function prepares() returns int language sql as $$ select 1 $$")
			if strings.Contains(prepare, "%") {
				prepare = fmt.Sprintf(prepare, role)
			}
			server.exec(prepare)
			t.Cleanup(func() {
				server.exec("drop owned by " + role)
				server.exec("drop role " + role)
				server.exec("drop role if exists " + role + "_app")
			})
			p := newPoolAt(t, dsn, &pool.Config{
				MaxConns: 1, Logger: (&logs{}).logger(), BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error { c.User = role; return nil },
				AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
					if name == "a role of its own" {
						return setup("set role "+role+"_app", "prepare mine as select 1")(ctx, c)
					}
					return setup("prepare mine as select 1")(ctx, c)
				},
			})
			for i := range 10 {
				l, err := p.Acquire(ctx)
				require.NoError(t, err)
				for _, sql := range []string{"select prepares()", "set application_name = 'x'"} {
					_, err = l.Exec(ctx, sql)
					require.NoError(t, err, sql)
				}
				if i%2 == 1 {
					_, err = l.Conn().Exec(ctx, fmt.Sprintf(`prepare "stmtcache_%d" as select 1; prepare "p %d" as select 2`, i, i))
					require.NoError(t, err)
				}
				l.Release()
				var names []string
				require.NoError(t, p.QueryRow(ctx, "select array_agg(name order by name) from pg_prepared_statements where from_sql").Scan(&names))
				assert.Equal(t, []string{"mine"}, names)
			}
			assert.EqualValues(t, 1, p.Stat().NewConnsCount(), "no connection was lost")
		})
	}
}

// on is the switch for a test of both.
func on(yes bool) pool.Switch {
	if yes {
		return pool.On
	}
	return pool.Off
}
