package pool_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// bigDatabase makes a database of 10,000 tables with 50,000 columns, 500 views and policies, 3,000 functions, of which 1,000
// hang on tables as triggers, 200 enums, 200 composites, 100 domains and 100 operators, and returns its connection string.
func bigDatabase(t testing.TB) string {
	t.Helper()
	ctx := context.Background()
	dsn := pgtest.Database(t)
	c, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer c.Close(ctx)
	began := time.Now()
	do := func(sql string) {
		t.Helper()
		_, err := c.Exec(ctx, sql)
		require.NoError(t, err)
	}
	do(`do $d$ begin for i in 1..200 loop
		execute format('create type e%1$s as enum (''a'', ''b''); create type c%1$s as (x int, y text)', i); end loop; end $d$`)
	do(`do $d$ begin for i in 1..100 loop
		execute format('create function dcheck%1$s(int) returns bool language sql immutable as ''select $1 > 0'';
			create domain d%1$s as int check (dcheck%1$s(value));
			create function op%1$s(c%1$s, int) returns bool language sql immutable as ''select $2 > 0'';
			create operator <~> (function = op%1$s, leftarg = c%1$s, rightarg = int)', i); end loop; end $d$`)
	do(`do $d$ begin for i in 1..1000 loop
		execute format('create function tf%1$s() returns trigger language plpgsql as ''begin return new; end'';
			create function rf%1$s(a int, b text default null) returns int language sql stable as ''select $1''', i); end loop;
		for i in 1..800 loop execute format('create function vf%1$s(text) returns text language plpgsql as ''begin return $1; end''', i); end loop; end $d$`)
	for from := 0; from < 10000; from += 500 { // a transaction has not room for the locks of all
		_, err := c.Exec(ctx, `select set_config('lmipool.from', $1::int::text, false)`, from)
		require.NoError(t, err)
		do(`do $d$ declare f int := current_setting('lmipool.from'); begin for i in f + 1 .. f + 500 loop
			execute format('create table t%1$s (id int primary key, name text, at timestamptz, e e%2$s, n numeric check (n > 0))', i, i % 200 + 1);
			if i % 10 = 0 then execute format('create trigger t before update on t%1$s for each row execute function tf%2$s()', i, i / 10); end if;
			if i % 20 = 0 then execute format('create view v%1$s as select id, upper(name) as name, rf%2$s(id) as r from t%1$s;
				alter table t%1$s enable row level security; create policy p on t%1$s using (id > 0)', i, i / 20); end if;
		end loop; end $d$`)
	}
	do("analyze pg_catalog.pg_class; analyze pg_catalog.pg_proc; analyze pg_catalog.pg_attribute; analyze pg_catalog.pg_depend; analyze pg_catalog.pg_type")
	t.Logf("made in %v", time.Since(began).Round(time.Millisecond))
	return dsn
}

// What is asked of the catalogs costs little where they are large. LMIPOOL_TEST_SCALE turns it on.
func TestTheCatalogsOfALargeDatabase(t *testing.T) {
	if os.Getenv("LMIPOOL_TEST_SCALE") == "" {
		t.Skip("LMIPOOL_TEST_SCALE is not set")
	}
	ctx := context.Background()
	dsn := bigDatabase(t)
	see := newInspector(t, dsn)
	t.Logf("%d tables, %d columns, %d functions of the user's own", see.count("select count(*) from pg_class where relkind = 'r' and oid >= 16384"),
		see.count("select count(*) from pg_attribute a join pg_class c on c.oid = attrelid where relkind = 'r' and c.oid >= 16384 and attnum > 0"),
		see.count("select count(*) from pg_proc where oid >= 16384"))
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
	for _, sql := range []string{"select id from t1 where id = $1", "select id from t2 where id = $1", "select id, r from v20", "select id from t20"} {
		began := time.Now()
		why, err := p.Findings(ctx, sql)
		require.NoError(t, err)
		t.Logf("%v: %q: %s", time.Since(began).Round(100*time.Microsecond), why, sql)
	}
	for i := range 36 { // with these four, and their types, indexes, policies
		_, err := p.Findings(ctx, fmt.Sprintf("select id, name, e from t%d where id = $1", 20+10*i))
		require.NoError(t, err)
	}
	var took []time.Duration
	for range 51 {
		one, right, err := p.SignTook(ctx)
		require.NoError(t, err)
		require.True(t, right)
		took = append(took, one)
	}
	slices.Sort(took)
	t.Logf("the sign of 40 tables: %v, the median of %d", took[len(took)/2].Round(10*time.Microsecond), len(took))
}
