package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/pool"
)

const bodySchema = `
create table t (id int primary key, n int default 0);
insert into t select i from generate_series(1, 10) i;
create table fired (id int primary key, n int default 0);
insert into fired select i from generate_series(1, 10) i;
create table serials (id serial, v text);
create sequence seq;
create schema other;
create table other.t (id int primary key, n int default 0);
create function other.leaves() returns trigger language plpgsql as $$ begin perform set_config('app.trigger', 'other', false); return new; end $$;
create trigger tr before insert or update on other.t for each row execute function other.leaves();
create table other.hidden (id int);
create trigger tr before insert on other.hidden for each row execute function other.leaves();
create table truncated (id int);
create function on_truncate() returns trigger language plpgsql as $$ begin perform set_config('app.trigger', 'truncate', false); return null; end $$;
create trigger tr before truncate on truncated execute function on_truncate();
create function f0() returns int language sql as $$ select 1 $$;
create domain d0 as int;
`

// bodyPieces are statements of PL/pgSQL that bodies are made of: $G is a call of an earlier function.
var bodyPieces = []string{
	"null;", "update t set n = n + 1 where id = 1;", "insert into t values (1) on conflict (id) do update set n = 3;", "delete from t where id = -1;",
	"perform count(*), max(n) from t;", "select n into strict x from t where id = 1;", "for r in select * from t limit 2 loop null; end loop;",
	"if (select true) then perform $G; end if;", "perform $G;", "x := $G;", "while x < 0 loop x := $G; end loop;", "return (select $G);",
	"begin x := 1 / 0; exception when division_by_zero then perform $G; end;", "open c for select $G; fetch c into x; close c;", "perform (t).n from t;",
	"update fired set n = n + 1 where id = 2;", "insert into fired values (3) on conflict do nothing;", "update t set n = case when $G > 0 then 1 else 2 end where id = 3;",
	"raise log 'x %', $G;", "notify c;", "lock table t in access share mode;", "perform pg_advisory_xact_lock(7);", "perform set_config('app.local', 'x', true);",
	"perform random(), clock_timestamp(), now(), gen_random_uuid();", "update t set n = 1 where id in (select $G);", "assert $G is not null;", "x := $G::d0;", "perform w from w;",
	// these leave something, or may
	"perform set_config('app.inside', 'x', false);", "perform pg_catalog.set_config('work_mem', '3MB', false);", "set work_mem = '3MB';", "set local search_path = other;", "if x is null then set app.inside = 'y'; end if;",
	"perform pg_advisory_lock(42);", "perform nextval('seq');", "insert into serials (v) values ('x');", "listen inside;", "create temp table if not exists inside (x int);",
	"execute 'prepare inside as select 1';", "execute format('select %s', 1);", "perform setval('seq', 7);", "perform setseed(0.5);", "truncate truncated;", "insert into other.hidden values (1);",
	"insert into hidden values (1);", "update t set n = 2 where id = 1;", "execute 'set app.inside = ' || quote_literal('z');", "for r in execute 'listen inside' loop null; end loop;",
	"perform 1 into temp;", "perform set_config('seed', '0.3', true);", "return query select 1;", "perform query_to_xml('select set_config(''app.inside'', ''q'', false)', true, true, '');",
}

// bodies makes functions of bodyPieces and of each other.
type bodies struct {
	rng *rand.Rand
	n   int
}

func (b *bodies) call() string { return fmt.Sprintf("f%d()", b.rng.IntN(b.n)) }

func (b *bodies) piece() string {
	p := bodyPieces[b.rng.IntN(len(bodyPieces))]
	if b.rng.IntN(2) > 0 { // mostly of those that leave nothing, or functions that do are rare
		p = bodyPieces[b.rng.IntN(slices.IndexFunc(bodyPieces, func(p string) bool { return strings.Contains(p, "app.inside") }))]
	}
	return strings.ReplaceAll(p, "$G", b.call())
}

// next is one more function, and how it is called.
func (b *bodies) next() (create string, calls []string) {
	name := fmt.Sprintf("f%d", b.n)
	attributes := []string{"", "", "security definer", "set search_path = other, public", "set search_path = public", "set search_path = ''", "set work_mem = '5MB'", "set timezone = 'UTC'", "stable"}
	with := attributes[b.rng.IntN(len(attributes))]
	calls = []string{"select " + name + "()", "select count(*) from t where n >= " + name + "()", "select * from " + name + "()"}
	var body strings.Builder
	for range 1 + b.rng.IntN(3) {
		body.WriteString(b.piece() + " ")
	}
	declare := "declare x int; r record; c refcursor; "
	switch b.rng.IntN(8) {
	case 0:
		create = fmt.Sprintf("create function %s() returns int language sql %s as $$ select %s + %s $$", name, with, b.call(), b.call())
	case 1:
		create = fmt.Sprintf("create function %s() returns int language sql begin atomic update t set n = n where id = 4; select %s; end", name, b.call())
	case 2:
		create = fmt.Sprintf("create function on_%[1]s() returns trigger language plpgsql %[2]s as $$ %[3]s begin %[4]s return new; end $$; drop trigger if exists tr on fired; "+
			"create trigger tr before insert or update on fired for each row when (%[5]s is not null) execute function on_%[1]s(); create function %[1]s() returns int language sql as 'select 1'",
			name, with, declare, body.String(), b.call())
		calls = append(calls, "update fired set n = n + 1 where id = 5", "insert into fired values (5) on conflict (id) do update set n = 4", "with u as (update fired set n = 1 where id = 6 returning id) select * from u")
	case 3:
		create = fmt.Sprintf("create function %[1]s() returns int language sql as 'select 1'; create function of_%[1]s(t) returns int language plpgsql %[2]s as $$ %[3]s begin %[4]s return 1; end $$", name, with, declare, body.String())
		calls = append(calls, "select t.of_"+name+" from t limit 1", "select (t).of_"+name+" from t limit 1")
	case 4:
		create = fmt.Sprintf("create function %[1]s() returns int language sql as 'select 1'; create or replace view w as select %[2]s as w", name, b.call())
		calls = append(calls, "select w from w", "select w.w + 1 from w")
	case 5:
		create = fmt.Sprintf("create function %[1]s() returns int language sql as 'select 1'; create function is_%[1]s(int) returns bool language plpgsql %[2]s as $$ %[3]s begin %[4]s return true; end $$; "+
			"create domain d_%[1]s as int check (is_%[1]s(value)); create function op_%[1]s(int, int) returns int language sql as $$ select %[5]s $$; drop operator if exists @+@ (int, int); create operator @+@ (leftarg = int, rightarg = int, function = op_%[1]s)",
			name, with, declare, body.String(), b.call())
		calls = append(calls, "select 1::d_"+name, "select d_"+name+" '1'", "select 1 @+@ 2")
	default:
		create = fmt.Sprintf("create function %s() returns int language plpgsql %s as $$ %s begin %s return 1; end $$", name, with, declare, body.String())
	}
	b.n++
	return create, calls
}

// What the pool takes statements to leave that run functions made at random, against what each leaves on a new connection.
func TestWhatFunctionsLeaveIsInTheirBodies(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(bodySchema + "alter database " + see.database() + " set max_stack_depth = '200kB'") // some call themselves
	see.exec("create view w as select 1 as w; set check_function_bodies = off")
	want := fresh(t, dsn, nil)
	slices.Sort(want)
	b := &bodies{rng: rand.New(rand.NewPCG(envSeed(t), 9)), n: 1}
	n, left, known, needless := 0, 0, 0, 0
	for range envInt(t, "LMIPOOL_TEST_BODIES", 60) {
		create, calls := b.next()
		see.exec(create)
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
		for _, sql := range calls {
			c, err := pgx.Connect(ctx, dsn)
			require.NoError(t, err)
			_, _ = c.Exec(ctx, sql) // some fail, and leave something nevertheless
			got, err := probe(ctx, c)
			require.NoError(t, err)
			var random float64
			require.NoError(t, c.QueryRow(ctx, "select random()").Scan(&random))
			require.NoError(t, c.Close(ctx))
			slices.Sort(got)
			leaves := append(missing(got, want), missing(want, got)...)
			need := sqltext.NoTrace
			for _, l := range leaves {
				switch {
				case strings.HasPrefix(l, "lastval"), strings.HasPrefix(l, "currval"):
					need = max(need, sqltext.SequenceTrace)
				case strings.HasPrefix(l, "prepared"):
					need = max(need, sqltext.AnyTrace)
				default:
					need = max(need, sqltext.SessionTrace)
				}
			}
			if random == 0.9851677175347999 || random == 0.3 { // what follows the seeds
				need = max(need, sqltext.SessionTrace)
			}
			says, err := p.Leaves(ctx, sql)
			require.NoError(t, err, sql)
			assert.GreaterOrEqual(t, says, need, "%s leaves %s; last made: %s", sql, leaves, create)
			n++
			if need > sqltext.NoTrace {
				left++
			} else if says == sqltext.NoTrace {
				known++
			} else {
				needless++
			}
		}
		p.Close()
	}
	t.Logf("%d statements: %d leave something, %d nothing, which is known, %d nothing, which is not", n, left, known, needless)
	assert.Greater(t, left, n/50)
	assert.Greater(t, known, n/5)
}
