package pool_test

import (
	"context"
	"errors"
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

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// ranAlone runs sql on a new connection and returns which planted functions said that they ran.
func ranAlone(t testing.TB, dsn, sql string) (ran []string, err error) {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	var mu sync.Mutex
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		mu.Lock()
		defer mu.Unlock()
		if name, ok := strings.CutPrefix(n.Message, "planted "); ok {
			ran = addNew(ran, name)
		}
	}
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer c.Close(context.Background())
	_, err = c.Exec(t.Context(), sql, pgx.QueryExecModeDescribeExec)
	return ran, err
}

// The oracle of make fuzz-proof: a planted function ran, and the pool had no finding.
func TestNoWayToTheUsersCodeIsUnseen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ ddl, sql, options string }{
		"crosstab": {
			plantedFunction("evil", "int", "int", "$1", "volatile") + `create extension tablefunc;`,
			"select * from crosstab('select 1, 1, evil(1)') as ct(a int, b int)", "",
		},
		"connectby": {
			plantedFunction("evil", "int", "int", "$1", "volatile") + `create extension tablefunc; create view tree as select evil(id) as id, null::int as parent from t1;`,
			"select * from connectby('tree', 'id', 'parent', '1', 0) as t(keyid int, p int, level int)", "",
		},
		"xpath_table": {
			plantedFunction("evil", "int", "int", "$1", "volatile") + `create extension xml2; create view docs as select evil(id) as id, '<a>x</a>'::text as doc from t1;`,
			"select * from xpath_table('id', 'doc', 'docs', '/a', 'true') as t(id int, x text)", "",
		},
		"crosstab in a view": {
			plantedFunction("evil", "int", "int", "$1", "volatile") + `create extension tablefunc; create view ct as select * from crosstab('select 1, 1, evil(1)') as ct(a int, b int)`,
			"select * from ct", "",
		},
		"extension's SQL function, operator": {
			plantedFunction("evil", "int, float8", "float8", "$1::float8", "immutable") + `create extension cube; create extension earthdistance; create operator * (leftarg = int, rightarg = float8, function = evil);`,
			"select sec_to_gc(1.5)", "",
		},
		"operator of a family, row comparison": {
			plantedFunction("vcmp", "text, text", "int", "bttextcmp($1, $2)", "immutable") + `
			create table tv (v text, w text, n int); insert into tv values ('a', 'b', 1), ('b', 'c', 2);
			create operator << (leftarg = text, rightarg = text, function = text_lt);
			create operator <<= (leftarg = text, rightarg = text, function = text_le);
			create operator === (leftarg = text, rightarg = text, function = texteq, merges);
			create operator >>= (leftarg = text, rightarg = text, function = text_ge);
			create operator >> (leftarg = text, rightarg = text, function = text_gt);
			create operator class vops for type text using btree as operator 1 <<, operator 2 <<=, operator 3 ===, operator 4 >>=, operator 5 >>, function 1 vcmp(text, text);`,
			"select n from tv where (v, w) << (w, v)", "",
		},
		"operator of a family, order by using": {
			plantedFunction("vcmp", "text, text", "int", "bttextcmp($1, $2)", "immutable") + `
			create table tv (v text, w text, n int); insert into tv values ('a', 'b', 1), ('b', 'c', 2);
			create operator << (leftarg = text, rightarg = text, function = text_lt);
			create operator <<= (leftarg = text, rightarg = text, function = text_le);
			create operator === (leftarg = text, rightarg = text, function = texteq, merges);
			create operator >>= (leftarg = text, rightarg = text, function = text_ge);
			create operator >> (leftarg = text, rightarg = text, function = text_gt);
			create operator class vops for type text using btree as operator 1 <<, operator 2 <<=, operator 3 ===, operator 4 >>=, operator 5 >>, function 1 vcmp(text, text);`,
			"select v from tv order by v using <<", "",
		},
		"operator of a family, hash join": {
			plantedFunction("vhash", "text", "int", "hashtext($1)", "immutable") + `
			create table tv (v text, w text, n int); insert into tv values ('a', 'b', 1), ('b', 'c', 2);
			create operator === (leftarg = text, rightarg = text, function = texteq, hashes);
			create operator class vops for type text using hash as operator 1 ===, function 1 vhash(text);`,
			"select a.n from tv a join tv b on a.v === b.w", "",
		},
		"a partition read by its name": {
			plantedFunction("kpart", "int", "int", "$1", "immutable") + `
			create table ri6 (id int, x int) partition by range ((x + kpart(0))); create table ri6a partition of ri6 for values from (0) to (10); insert into ri6 values (1, 1)`,
			"select id from ri6a where x = 5", "constraint_exclusion=on",
		},
		"a partition read by its name, operator class": {
			plantedFunction("kcmp", "int, int", "int", "$1 - $2", "immutable") + `
			create operator class kops for type int using btree as operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, function 1 kcmp(int, int);
			create table ri7 (id int, x int) partition by range (x kops); create table ri7a partition of ri7 for values from (0) to (10); insert into ri7 values (1, 1)`,
			"select id from ri7a where x = 5", "constraint_exclusion=on",
		},
		"cast to an extension's type, its operator": {
			`create extension hstore;` + plantedFunction("t2h", "text", "hstore", "'a=>1'::hstore", "immutable") + `create cast (text as hstore) with function t2h(text) as implicit;`,
			"select %% name from t1", "",
		},
		"negator of an operator with a built-in function": {
			plantedFunction("nlt", "int, int", "bool", "$1 >= $2", "volatile") + `
			create operator <# (leftarg = int, rightarg = int, function = int4lt, negator = !<#); create operator !<# (leftarg = int, rightarg = int, function = nlt, negator = <#);`,
			"select id from t1 where not (id <# 2)", "",
		},
		"negator of a built-in operator": {
			plantedFunction("ncontains", "jsonb, jsonb", "bool", "not jsonb_contains($1, $2)", "volatile") + `
			create operator !@> (leftarg = jsonb, rightarg = jsonb, function = ncontains, negator = @>);`,
			`select id from t1 where not (doc @> '{"a": 1}')`, "",
		},
		"commutator of an operator with a built-in function": {
			plantedFunction("cgt", "int, int", "bool", "$1 > $2", "volatile") + `
			create operator <# (leftarg = int, rightarg = int, function = int4lt, commutator = >#); create operator ># (leftarg = int, rightarg = int, function = cgt, commutator = <#);`,
			"select count(*) from t1 a where 2 <# any (array[a.id, 3])", "",
		},
		"cast by a built-in function": {
			`create cast (int8 as bool) with function pg_try_advisory_lock(int8) as assignment; create function loud() returns int language sql as 'select 1'`,
			"select (77::int8)::bool", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			see := newInspector(t, dsn)
			see.exec(baseSchema)
			see.exec(c.ddl)
			if c.options != "" {
				name, value, _ := strings.Cut(c.options, "=")
				dsn = withParam(dsn, name, value)
			}
			ran, err := ranAlone(t, dsn, c.sql)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
			why, ferr := p.Findings(bounded(t), c.sql)
			require.NoError(t, ferr)
			trace, terr := p.Traces(bounded(t), c.sql)
			require.NoError(t, terr)
			t.Logf("ran alone: %v (%v); findings %q, traces %q", ran, err, why, trace)
			if len(ran) > 0 || name == "cast by a built-in function" {
				assert.NotEmpty(t, why, "rides, and a function of the user's runs")
			}
		})
	}
}

func TestNoWayOfAWriteToTheUsersCodeIsUnseen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ ddl, sql string }{
		"no action: the referencing table's index": {
			plantedFunction("kpred", "int", "int", "$1", "immutable") + `
			create table par (id int primary key); create table chi (pid int references par, x int); create index on chi (x) where pid > kpred(0); insert into par values (1), (2)`,
			"delete from par where id = 2",
		},
		"no action: the referencing table's check": {
			plantedFunction("kst", "int", "int", "$1", "immutable") + `
			create table par (id int primary key); create table chi (pid int references par, x int); create statistics st on (x + kst(0)), pid from chi; insert into par values (1), (2)`,
			"delete from par where id = 2",
		},
		"no action, update": {
			plantedFunction("kpred", "int", "int", "$1", "immutable") + `
			create table par (id int primary key); create table chi (pid int references par, x int); create index on chi (x) where pid > kpred(0); insert into par values (1), (2)`,
			"update par set id = 3 where id = 2",
		},
		"a partition of a partition by its name": {
			plantedFunction("gk", "int", "int", "$1", "immutable") + `
			create table gr (id int, x int) partition by range (gk(x)); create table gr1 partition of gr for values from (0) to (100) partition by range (id);
			create table gr11 partition of gr1 for values from (0) to (100);`,
			"insert into gr11 values (1, 1)",
		},
		"a cascade into a partition of a partition": {
			plantedFunction("gk", "int", "int", "$1", "immutable") + `
			create table par (id int primary key); insert into par values (1), (2);
			create table gr (id int, x int) partition by range (gk(x)); create table gr1 partition of gr for values from (0) to (100) partition by range (id);
			create table gr11 partition of gr1 for values from (0) to (100); alter table gr11 add foreign key (x) references par on update cascade; insert into gr11 values (1, 1);`,
			"update par set id = 3 where id = 1",
		},
		"a partition by its name, its parent's trigger": {
			`create table parted (id int, x int) partition by range (id); create table parted1 partition of parted for values from (0) to (100);
			create function tr() returns trigger language plpgsql as $$ begin raise notice 'planted tr'; perform set_config('app.planted', 'x', false); return new; end $$; create trigger t before insert or update on parted for each row execute function tr();`,
			"insert into parted1 values (1, 1)",
		},
		"no action: a cast of the referencing column": {
			"create type num as (v int);" + plantedFunction("n2i", "num", "int", "$1.v", "immutable") + `
			create cast (num as int) with function n2i(num) as implicit;
			create table par (id int primary key); create table chi (pid num references par, x int); insert into par values (1), (2); insert into chi values ('(1)', 1)`,
			"delete from par where id = 2",
		},
		"no action: the constraint's operator": {plantedFunction("eq48", "int, int8", "bool", "$1 = $2", "immutable") + plantedFunction("cmp8", "int8, int8", "int", "btint8cmp($1, $2)", "immutable") + `
			create type num as (v int); ` + plantedFunction("neq", "num, num", "bool", "$1.v = $2.v", "immutable") + plantedFunction("ncmp", "num, num", "int", "$1.v - $2.v", "immutable") + `
			create operator === (leftarg = num, rightarg = num, function = neq);
			create operator class nops for type num using btree as operator 3 ===, function 1 ncmp(num, num);
			create table par (id int primary key, k num); create unique index pk on par (k nops);
			`, "delete from par where id = 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			see := newInspector(t, dsn)
			see.exec(c.ddl)
			ran, err := ranAlone(t, dsn, c.sql)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
			trace, terr := p.Traces(bounded(t), c.sql)
			require.NoError(t, terr)
			t.Logf("ran alone: %v (%v); traces %q", ran, err, trace)
			if len(ran) > 0 {
				assert.NotEmpty(t, trace, "leaves nothing, and a function of the user's runs")
			}
		})
	}
}

const attackSchema = `
	create table ledger (id int);
	create table nums as select id, 'name ' || id as name from generate_series(1, 20000) id;
	create unique index on nums (id);
	create function planted(i int) returns int language plpgsql as $$ begin insert into public.ledger values (i); return i; exception when others then return -i; end $$;
	create view shown as select id, name from nums;
	analyze;`

// lostWrites runs sql, with an id as its argument, by 960 callers, and counts those that wrote nothing into ledger.
func lostWrites(t testing.TB, see *inspector, query func(id int) error) (missing int) {
	t.Helper()
	see.exec("truncate ledger")
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 32 {
		wg.Go(func() {
			for i := next.Add(1); i <= 960; i = next.Add(1) {
				assert.NoError(t, query(int(i)))
			}
		})
	}
	wg.Wait()
	require.NoError(t, see.c.QueryRow(context.Background(), "select 960 - count(distinct id) from ledger").Scan(&missing))
	return missing
}

func TestWaysToTheUsersCodeLoseNoWrite(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ ddl, sql string }{
		"crosstab": {"create extension tablefunc", "select b from crosstab(format('select 1, 1, planted(%s)', $1::int)) as ct(a int, b int)"},
		"negator": {
			`create function nlt(a int, b int) returns bool language plpgsql as $$ begin insert into public.ledger values (b); return a >= b; exception when others then return a >= b; end $$;
			create operator <# (leftarg = int, rightarg = int, function = int4lt, negator = !<#); create operator !<# (leftarg = int, rightarg = int, function = nlt, negator = <#);`,
			"select count(*)::int from nums where id = 1 and not (id <# $1::int)",
		},
		"operator family": {
			`create function vcmp(a text, b text) returns int language plpgsql as $$ declare i int := substr(a, 2); begin insert into public.ledger values (i); return bttextcmp(a, b); exception when others then return bttextcmp(a, b); end $$;
			create operator << (leftarg = text, rightarg = text, function = text_lt);
			create operator <<= (leftarg = text, rightarg = text, function = text_le);
			create operator === (leftarg = text, rightarg = text, function = texteq, merges);
			create operator >>= (leftarg = text, rightarg = text, function = text_ge);
			create operator >> (leftarg = text, rightarg = text, function = text_gt);
			create operator class vops for type text using btree as operator 1 <<, operator 2 <<=, operator 3 ===, operator 4 >>=, operator 5 >>, function 1 vcmp(text, text);`,
			"select count(*)::int from nums where id < 3 and ('x' || $1::int, name) << ('x' || $1::int || name, name)",
		},
		"text to hstore": {`create extension hstore; create function t2h(x text) returns hstore language plpgsql as $$ begin insert into public.ledger values (x::int); return hstore('a', '1'); exception when others then return hstore('a', '1'); end $$;
			create cast (text as hstore) with function t2h(text) as implicit;`, "select array_length(%% ($1::int)::text, 1)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			see := newInspector(t, dsn)
			see.exec(attackSchema)
			see.exec(c.ddl)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
			p.NeverSlow()
			px, err := pgxpool.New(t.Context(), dsn)
			require.NoError(t, err)
			defer px.Close()
			byPgx := lostWrites(t, see, func(id int) error { var r *int; return px.QueryRow(t.Context(), c.sql, id).Scan(&r) })
			byUs := lostWrites(t, see, func(id int) error { var r *int; return p.QueryRow(t.Context(), c.sql, id).Scan(&r) })
			t.Logf("lost: pgxpool %d, lmipool %d of 960; %d rode", byPgx, byUs, p.Stat().Lanes().Rides)
			if byPgx == 0 {
				assert.Zero(t, byUs)
			}
		})
	}
}

// A flight is sent within 800 ms of the last right sign, but what is in front of a rider in it may take 31 times 100 ms.
func TestNoAnswerIsOldBecauseOthersWereSlow(t *testing.T) {
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(attackSchema)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	const slow, shown = "select count(*)::int from generate_series(1, $1::int) g", "select name from shown where id = $1"
	// as many rows as take some 60 ms
	n := 10000
	for {
		began := time.Now()
		_, err := see.c.Exec(t.Context(), slow, n)
		require.NoError(t, err)
		if time.Since(began) > 45*time.Millisecond {
			break
		}
		n = n * 5 / 4
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				var x int
				var s string
				_ = p.QueryRow(ctx, slow, 1).Scan(&x)
				_ = p.QueryRow(ctx, shown, 1).Scan(&s)
			}
		})
	}
	eventually(t, "they ride", func() bool { return p.Stat().Lanes().Rides > 3000 })
	cancel()
	wg.Wait()
	see.exec("create or replace view shown as select id, name || planted(id) as name from nums")
	changed := time.Now()
	rode := p.Stat().Lanes().Rides
	wg.Go(func() { _, _ = p.Exec(pool.Alone(t.Context()), "select pg_sleep(0.1)") })
	time.Sleep(20 * time.Millisecond)
	for range 30 {
		wg.Go(func() { var x int; assert.NoError(t, p.QueryRow(t.Context(), slow, n).Scan(&x)) })
	}
	time.Sleep(20 * time.Millisecond)
	var name string
	require.NoError(t, p.QueryRow(t.Context(), shown, 7).Scan(&name))
	answered := time.Since(changed)
	wg.Wait()
	var written int
	require.NoError(t, see.c.QueryRow(t.Context(), "select count(*) from ledger where id = 7").Scan(&written))
	t.Logf("n %d: answered %q %v after the change; wrote %d; %d rode since", n, name, answered, written, p.Stat().Lanes().Rides-rode)
	if answered > time.Second {
		assert.Equal(t, 1, written, "its write was lost")
	}
}

// A write that is believed to leave nothing runs in the 400 ms in which nobody asks for the sign; what it leaves stays.
func TestWhatIsLeftInTheSecondAfterAChangeIsTakenAway(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(`create table t (id int); create function leak() returns trigger language plpgsql as $$ begin perform set_config('app.leak', new.id::text, false); return new; end $$`)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
	until := time.Now().Add(1500 * time.Millisecond)
	insert := func(i int) { _, err := p.Exec(t.Context(), "insert into t values ($1)", i); require.NoError(t, err) }
	for time.Now().Before(until) {
		insert(0)
	}
	see.exec("create trigger t before insert on t for each row execute function leak()")
	insert(7)
	time.Sleep(3 * time.Second)
	var got *string
	require.NoError(t, p.QueryRow(t.Context(), "select current_setting('app.leak', true)").Scan(&got))
	require.NotNil(t, see)
	if got != nil {
		assert.Empty(t, *got, "left by another invocation, three seconds ago")
	}
}

// ON DELETE NO ACTION: to delete is to plan a query of the referencing table, whose index predicates run then.
func TestWhatAForeignKeyRunsIsTakenAway(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(`create table par (id int primary key); create table chi (pid int references par, x int); insert into par select generate_series(1, 1000);
		create function kpred(i int) returns int immutable language plpgsql as $$ begin perform set_config('app.leak', 'x', false); return i; end $$;
		create index on chi (x) where pid > kpred(0)`)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, MaxConnLifetime: 300 * time.Millisecond})
	var got *string
	for i := range 40 {
		time.Sleep(50 * time.Millisecond)
		_, err := p.Exec(t.Context(), "delete from par where id = $1", i+21)
		require.NoError(t, err)
		require.NoError(t, p.QueryRow(t.Context(), "select current_setting('app.leak', true)").Scan(&got))
		if got != nil && *got != "" {
			t.Fatalf("after %d: a setting of another invocation's: %q", i, *got)
		}
	}
}

// A connection of an older baseline runs what the newest baseline's facts say leaves nothing.
func TestAStatementIsJudgedByItsOwnConnection(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	alter := func(path string) {
		see.exec("do $$ begin execute format('alter database %I set search_path = " + path + "', current_database()); end $$")
	}
	see.exec(`create table nums (id int); insert into nums values (1); create view shown as select id from nums;
		create schema evil; create function leak(i int) returns int language plpgsql as $$ begin perform set_config('app.leak', 'x', false); return i; end $$;
		create view evil.shown as select public.leak(id) as id from public.nums`)
	alter("evil, public")
	const sql = "select id from shown"
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
	exec := func(ctx context.Context, sql string) { _, err := p.Exec(ctx, sql); require.NoError(t, err) }
	ctx := pool.Alone(t.Context())
	exec(ctx, "select 1") // the old connection
	a, err := p.Acquire(t.Context())
	require.NoError(t, err)
	pidA := a.Conn().PgConn().PID()
	alter("public")
	b, err := p.Acquire(t.Context()) // the new one
	require.NoError(t, err)
	require.NotEqual(t, pidA, b.Conn().PgConn().PID())
	b.Release()
	for range 20 { // learned on the new one
		exec(ctx, sql)
		time.Sleep(10 * time.Millisecond)
	}
	b, err = p.Acquire(t.Context())
	require.NoError(t, err)
	a.Release()
	time.Sleep(50 * time.Millisecond)
	defer b.Release()
	for i := range 20 {
		exec(ctx, sql) // on the old one
		var got *string
		var pid uint32
		require.NoError(t, p.QueryRow(ctx, "select current_setting('app.leak', true), pg_backend_pid()").Scan(&got, &pid))
		require.Equal(t, pidA, pid)
		if got != nil && *got != "" {
			t.Fatalf("after %d: a setting of another invocation's: %q", i, *got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Rows in front of an error: pgx hands them out.
func TestRowsInFrontOfAnErrorAreAllThere(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	p.NeverSlow()
	const sql = "select 1 / (4 - g) from generate_series(1, 6) g where $1::int > 0"
	count := func(q func(context.Context, string, ...any) (pgx.Rows, error)) (n int, code string) {
		rows, err := q(t.Context(), sql, 1)
		if err != nil {
			return -1, err.Error()
		}
		for rows.Next() {
			n++
		}
		rows.Close()
		var pe *pgconn.PgError
		if errors.As(rows.Err(), &pe) {
			code = pe.Code
		}
		return n, code
	}
	px, err := pgxpool.New(t.Context(), dsn)
	require.NoError(t, err)
	defer px.Close()
	n, code := count(px.Query)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[int]int{}
	for range 16 {
		wg.Go(func() {
			for range 60 {
				m, c := count(p.Query)
				mu.Lock()
				got[m]++
				mu.Unlock()
				assert.Equal(t, code, c)
			}
		})
	}
	wg.Wait()
	t.Logf("pgxpool %d rows, then %s; lmipool %v; %d rode", n, code, got, p.Stat().Lanes().Rides)
	assert.Equal(t, 960, got[n])
}

// A fact about a function that is learned once more takes the old one's place, and its sign with it: then the sign is right, and
// what was proven by the old fact is believed for good.
func TestAFactThatIsReplacedIsNoticed(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(attackSchema)
	see.exec(`create extension fuzzystrmatch; create table words (id int, v varchar); insert into words values (1, 'a'); analyze words;
		create view distances as select id, levenshtein(v::text, 'x'::text) as d from words`)
	const a, b = "select levenshtein(v, ($1::int)::varchar) from words where id = 1", "select d from distances"
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, MaxConnLifetime: 300 * time.Millisecond})
	p.NeverSlow()
	px, err := pgxpool.New(t.Context(), dsn)
	require.NoError(t, err)
	defer px.Close()
	query := func(id int) error { var d int; return p.QueryRow(t.Context(), a, id).Scan(&d) }
	lostWrites(t, see, query)
	lostWrites(t, see, query)
	rode := p.Stat().Lanes().Rides
	require.Positive(t, rode)
	changes := p.Stat().Lanes().CatalogChanges
	see.exec(`create function levenshtein(a varchar, b varchar) returns int language plpgsql as $$ begin insert into public.ledger values (b::int); return 1; exception when others then return 2; end $$`)
	var d int
	require.NoError(t, p.QueryRow(t.Context(), b).Scan(&d)) // is new: it is learned after it
	time.Sleep(2 * time.Second)
	for range 3 {
		byPgx := lostWrites(t, see, func(id int) error { var d int; return px.QueryRow(t.Context(), a, id).Scan(&d) })
		rode = p.Stat().Lanes().Rides
		byUs := lostWrites(t, see, query)
		t.Logf("lost: pgxpool %d, lmipool %d of 960; %d rode; %d changes noticed", byPgx, byUs, p.Stat().Lanes().Rides-rode, p.Stat().Lanes().CatalogChanges-changes)
		assert.Zero(t, byUs)
		time.Sleep(time.Second)
	}
}

// An argument that fits the column only since it was altered is never encoded for what the statement takes now.
func TestADescriptionThatIsTooNarrowIsMadeAnew(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(`create table wide (id int, name text); create index on wide (id)`)
	const sql = "select count(*)::int from wide where id = $1"
	ask := func(p *pool.Pool, from int64) int64 {
		before := p.Stat().Lanes().Rides
		var wg sync.WaitGroup
		for g := range int64(16) {
			wg.Go(func() {
				for i := range int64(60) {
					var n int
					assert.NoError(t, p.QueryRow(t.Context(), sql, from+g*100+i).Scan(&n))
				}
			})
		}
		wg.Wait()
		return p.Stat().Lanes().Rides - before
	}
	old := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, MaxConnLifetime: 200 * time.Millisecond})
	old.NeverSlow()
	ask(old, 1)
	require.Positive(t, ask(old, 1))
	see.exec("alter table wide alter id type bigint")
	time.Sleep(1500 * time.Millisecond)
	var rides []int64
	for range 4 {
		rides = append(rides, ask(old, 5_000_000_000))
		time.Sleep(300 * time.Millisecond)
	}
	fresh := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
	fresh.NeverSlow()
	ask(fresh, 5_000_000_000)
	t.Logf("rides of 960: %v, by a new pool %d", rides, ask(fresh, 5_000_000_000))
	assert.Positive(t, rides[3])
}
