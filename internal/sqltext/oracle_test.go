package sqltext_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// world is a database full of functions that leave a row in log. Many have names that are keywords.
const world = `
create table log (who text);
create table t (a int, b text);
insert into t values (1, 'x'), (2, 'y');
create schema s;
do $do$
declare n text;
begin
	foreach n in array array['evil', '"Evil"', 's.evil', 's.lower', 's."select"', '"select"', '"in"', '"coalesce"', '"case"',
		'"left join"', 'a$b', 'é', 'over', 'filter', 'partition', 'by', 'sets', 'cube', 'rollup', 'zone', 'materialized',
		'recursive', 'varying', 'first', 'next', 'escape', 'within', 'rows', '"join"', '"natural"', '"like"', '"is"',
		'values_', 'operator', 'repeatable', 'key', 'passing', 'second', 'abs_', 'update', 'ordinality'] loop
		execute format('create function %s(int) returns int language plpgsql as $f$
			begin insert into public.log values (''x''); return $1; end $f$', n);
	end loop;
end $do$;
create function evil() returns int language sql as 'select evil(1)';
create function hidden(t) returns int language plpgsql as $$ begin return evil($1.a); end $$;
create function plus(int, int) returns int language plpgsql as $$ begin return evil($1) + $2; end $$;
create operator s.+ (leftarg = int, rightarg = int, function = plus);
create view v as select evil(a) as a, b from t;
create view vv as select x.a from (select * from v where b <> '') x, generate_series(1, 1);
create view vf as select a from evil(1) as e(a);
create view vt as select t.hidden as a from t;
create view vl as select a from t limit evil(1);
`

// gen writes random statements.
type gen struct{ *rand.Rand }

func (g gen) pick(all ...string) string { return all[g.IntN(len(all))] }

// some returns text once in n times.
func (g gen) some(n int, text string) string {
	if g.IntN(n) == 0 {
		return text
	}
	return ""
}

// gap is what may stand between two tokens, opt where nothing may stand too.
func (g gen) gap() string {
	return g.pick(" ", " ", " ", "\n", "\t", "/**/", "/* ' */", "/* /* ( */ \" */", "-- '\n", "-- (\r", " /*$$*/ ", "\f", "--\n--;\n", "/***/", "/*/**/*/")
}

func (g gen) opt() string {
	if g.IntN(3) > 0 {
		return ""
	}
	return g.gap()
}

// spell spells a name that is written in lower case without quotes.
func (g gen) spell(name string) string {
	switch g.IntN(4) {
	case 0:
		return strings.ToUpper(name)
	case 1:
		return `"` + name + `"`
	}
	return name
}

// evil is a name that has an effect, as a call's beginning.
func (g gen) evil() string {
	name := g.pick("evil", "evil", "evil", "over", "filter", "partition", "by", "sets", "cube", "rollup", "zone", "materialized",
		"recursive", "varying", "first", "next", "escape", "within", "rows", "operator", "repeatable", "key", "passing", "second", "a$b",
		"update", "ordinality", "abs_")
	switch g.IntN(8) {
	case 0:
		return g.pick("", g.spell("public")+g.opt()+"."+g.opt()) + g.pick(`"select"`, `"Evil"`, `"in"`, `"coalesce"`, `"left join"`, "é", `"case"`, `U&"\0065vil"`)
	case 1:
		return g.spell("s") + g.opt() + "." + g.opt() + g.pick(g.spell("evil"), g.spell("lower"), g.spell("select"))
	case 2:
		return g.spell("public") + g.opt() + "." + g.opt() + g.spell(name)
	case 3:
		return g.pick("join", "natural", "is")
	}
	return g.spell(name)
}

// text is a string, full of things that are no calls as long as it is one.
func (g gen) text() string {
	in := g.pick("x", "evil(1)", ") evil(1", "; select 1", "--", "/*", "", "a b", "$$")
	switch g.IntN(9) {
	case 0:
		return "$$" + strings.ReplaceAll(in, "$$", "") + "$$"
	case 1:
		return "$q$" + in + "'$q$"
	case 2:
		return g.pick("E", "e") + "'" + in + g.pick(`\'`, `\\`, `''`, `\n`) + "'"
	case 3:
		return "'" + in + "''" + in + "'"
	case 4:
		return "'" + in + "'" + g.pick("\n", " -- c\n", "\n-- '\n ") + "'" + in + "'"
	case 5:
		return "E'" + in + "'\n'" + in + `\''`
	case 6:
		return "'" + in + g.pick(`\`, `\'`) + "'"
	case 7:
		return "U&'" + in + `\0041'`
	}
	return "'" + in + "'"
}

// num is an expression that is an integer.
func (g gen) num(depth int) string {
	if depth <= 0 {
		return g.pick("1", "2", "1e0::int", "'3'::int", "1.0::numeric(3,1)::int", "length("+g.text()+")")
	}
	n := func() string { return g.num(depth - 1 - g.IntN(2)) }
	switch g.IntN(30) {
	case 0, 1, 2:
		return g.evil() + g.opt() + "(" + g.opt() + n() + g.opt() + ")"
	case 3:
		return g.pick("evil", "EVIL", `public."evil"`) + g.opt() + "()"
	case 4, 5:
		return g.pick("abs", "ABS", "pg_catalog.abs", `"abs"`, "pg_catalog . int4") + g.opt() + "(" + n() + ")"
	case 6:
		return n() + g.opt() + g.pick("+", "-", "*", "- ", "+/**/", "operator(pg_catalog.+)", "operator(s.+)") + g.gap() + n()
	case 7:
		return "(" + g.opt() + n() + ")"
	case 8:
		return g.pick("coalesce", "greatest", "LEAST") + g.opt() + "(" + n() + ", " + n() + ")"
	case 9:
		return "case when " + n() + " > 0 then" + g.gap() + n() + " else (" + n() + ") end"
	case 10:
		return "(select " + n() + g.some(2, " from t limit 1") + ")"
	case 11:
		return "(array[" + n() + ", " + n() + "])[1]"
	case 12:
		return "cast(" + n() + " as " + g.pick("int", "numeric(5)", "character varying(20)", "varchar(9)") + ")::numeric(10, 2)::int"
	case 13:
		return "length(" + g.pick("substring", "left", `"substring"`) + "(" + g.text() + ", 1))"
	case 14:
		return "(select count(*) filter" + g.gap() + "(where " + n() + " > 0) over" + g.gap() + "(partition by (a) order by (" + n() + ")) from t limit 1)::int"
	case 15:
		return "(with x(y) as (select " + n() + "), z(a) as" + g.gap() + g.pick("", "materialized", "not materialized") + "(select y from x) select a from z" + g.some(3, ", evil(1)") + ")"
	case 16:
		return "(select q.a from " + g.evil() + "(" + n() + ") " + g.pick("as ", "") + "q(a))"
	case 17:
		return "(select q.a from t, lateral " + g.pick("(select "+n()+")", g.evil()+"("+n()+")", "rows from ("+g.evil()+"("+n()+"), abs(1))") + " as q(a) limit 1)"
	case 18:
		return "(select distinct on (a) " + g.pick("over", "filter", "evil", "join", "zone", "by") + " (a) from t order by a limit 1)"
	case 19:
		return "(select " + g.pick("t.hidden", "(t).hidden", "hidden(t)", "t . \"hidden\"", "t.a") + " from t limit 1)"
	case 20:
		return "(select a from " + g.pick("v", "vv", "vf", "vt", "t", `"v"`, "public.vv") + " limit 1)"
	case 21:
		return "(select a from t where a" + g.opt() + g.pick(" in (1, "+n()+")", " = any(array["+n()+"])", " between ("+n()+") and 5", " in (select "+n()+")") + " limit 1)"
	case 22:
		return "treat(-1 as " + g.pick("lo_creat", "abs") + ")::int"
	case 23:
		return "(select t.a from t " + g.pick("join (t x cross join t y) on (", "left join lateral (select 1) x on (") + n() + " > 0) limit 1)"
	case 24:
		return "(with recursive r(i) as (values (1) union all select i + 1 from r where i < 2), q(j) as (select " + n() + ") select i from r limit 1)"
	case 25:
		return "extract(year from now())::int + position(" + g.text() + " in " + g.text() + ")"
	case 26:
		return "(select a from t group by " + g.pick("rollup (a)", "grouping sets ((a))", "a, evil(a)", "cube (a)", "a") + " order by (a) limit 1)"
	case 27:
		return "(select sum(a) over w from t window w as (order by a rows " + n() + " preceding) limit 1)::int"
	case 28:
		return "(select a from t" + g.pick("", " as x(a, b)", " x(a, b)", " tablesample system(100)") + " where not " + g.pick("(", "materialized(1) in (") + n() + ") = 7 limit 1)"
	}
	return "length(" + g.text() + ")"
}

func (g gen) statement() string {
	n := g.num(1 + g.IntN(4))
	sql := g.some(9, "(") + g.pick("select ", "SELECT"+g.gap(), "/* x */select ", "Select all ") + n
	if g.IntN(12) == 0 {
		sql = g.pick("values ("+n+"), ("+g.num(1)+")", "table t", "table vv",
			"with w(x) as (insert into t values (7, '') returning a) select * from w",
			"with w as (update t set a = a returning a) table w",
			"with w as (select "+n+") delete from t where a = 1",
			"with w(x) as (select "+n+") select x from w")
	}
	sql += g.some(6, g.gap()+"from"+g.gap()+g.pick("t", "v", "t, vv", "t as x(a, c)")+g.some(2, " where "+n+" > 0"))
	sql += g.some(12, g.gap()+g.pick("for update", "for"+g.gap()+"share", "FOR no key update", "for key share of t", "for read only"))
	sql += g.some(15, g.gap()+g.pick(";", "; select 1", ";"+g.gap()+"insert into t values (8, '')", ";;"))
	if strings.HasPrefix(sql, "(") {
		sql += ")"
	}
	if g.IntN(25) == 0 {
		sql = strings.Replace(sql, " from", " into temp made from", 1)
	}
	return sql
}

// typo changes a character or two, mostly at the borders of strings and comments.
func (g gen) typo(sql string) string {
	for range 1 + g.IntN(3) {
		at := g.IntN(len(sql))
		switch g.IntN(4) {
		case 0:
			sql = sql[:at] + sql[at+1:]
		case 1, 2:
			sql = sql[:at] + g.pick("'", `"`, "$$", "/*", "*/", "--", `\`, "E", "e'", "(", ")", ";", "\n", "\r", "$", "1", ".", "_", "''", `'\'`, "$a$", "U&'", "n'", "b'") + sql[at:]
		case 3:
			to := min(len(sql), at+g.IntN(20))
			sql = sql[:at] + sql[at:to] + sql[at:]
		}
		if sql == "" {
			return "select"
		}
	}
	return sql
}

// begin starts the transaction that the next text runs in.
const begin = "rollback; begin; set local standard_conforming_strings = "

// effect runs sql in a transaction of its own, and says what came of it. It leaves the next transaction begun with
// standard_conforming_strings as next says.
func effect(ctx context.Context, conn *pgconn.PgConn, sql, next string) (ok bool, did string, err error) {
	results, failed := conn.Exec(ctx, sql).ReadAll()
	if failed == nil {
		r, err := conn.Exec(ctx, `select (select count(*) from public.log) > 0, pg_current_xact_id_if_assigned() is not null; `+begin+next).ReadAll()
		if err == nil {
			switch {
			case len(results) > 1:
				return true, "two commands", nil
			case string(r[0].Rows[0][0]) == "t":
				return true, "called a function", nil
			case string(r[0].Rows[0][1]) == "t":
				return true, "wrote", nil
			}
			return true, "", nil
		}
	}
	_, err = conn.Exec(ctx, begin+next).ReadAll()
	return false, "", err
}

// alone returns why Scan, or ScanPlan, keeps a statement from riding; "" if it may.
func alone(s sqltext.Statement) string {
	if s.Refused != "" {
		return s.Refused
	}
	for _, f := range s.Functions {
		if !f.Harmless() {
			return f.String()
		}
	}
	return ""
}

func explain(ctx context.Context, conn *pgconn.PgConn, sql string) ([]string, error) {
	r, err := conn.Exec(ctx, "explain (verbose, costs off) "+sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, row := range r[0].Rows {
		lines = append(lines, string(row[0]))
	}
	return lines, nil
}

// TestWhatHasAnEffectDoesNotRide asks PostgreSQL which of thousands of random texts do anything.
func TestWhatHasAnEffectDoesNotRide(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a server")
	}
	storm(t, pgtest.Database(t), 4*time.Second)
}

func TestWhatHasAnEffectDoesNotRideOnAnyVersion(t *testing.T) {
	if os.Getenv("LMIPOOL_TEST_MATRIX") != "1" {
		t.Skip("LMIPOOL_TEST_MATRIX is not 1")
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) { storm(t, server(t, version), 10*time.Second) })
	}
}

func storm(t *testing.T, dsn string, d time.Duration) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("LMIPOOL_TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	g := gen{rand.New(rand.NewPCG(seed, 0))}
	conn := build(t, dsn)
	ran, did, rode, byPlan, total := 0, map[string]int{}, 0, 0, 0
	scs := "on"
	for end := time.Now().Add(d); time.Now().Before(end) && !t.Failed(); total++ {
		sql := g.statement()
		if g.IntN(3) == 0 {
			sql = g.typo(sql)
		}
		was := scs
		scs = g.pick("on", "on", "off")
		ok, effect, err := effect(t.Context(), conn, sql, scs)
		require.NoError(t, err, sql)
		if !ok {
			continue
		}
		ran++
		did[effect]++
		why := alone(sqltext.Scan(sql))
		if why == "" {
			lines, err := explain(t.Context(), conn, sql)
			require.NoError(t, err, "%s\nwould ride, and cannot be explained", sql)
			if why = alone(sqltext.ScanPlan(lines)); why != "" {
				byPlan++
			} else {
				rode++
			}
		}
		if effect != "" {
			require.NotEmpty(t, why, "seed %d, standard_conforming_strings %s: %s\n%s", seed, was, effect, sql)
		}
	}
	t.Logf("seed %d: %d texts, %d ran; effects: %v; %d would ride, %d only the plan kept back", seed, total, ran, did, rode, byPlan)
	assert.Greater(t, ran, total/4)
	assert.Greater(t, did["called a function"], ran/10)
	assert.Greater(t, rode, ran/20)
	assert.Positive(t, byPlan)
	assert.Positive(t, did["two commands"])
	assert.Positive(t, did["wrote"])
}

// build makes the world and returns a connection to it.
func build(t *testing.T, dsn string) *pgconn.PgConn {
	t.Helper()
	conn := connect(t, dsn).PgConn()
	for _, sql := range []string{world, begin + "on"} {
		_, err := conn.Exec(t.Context(), sql).ReadAll()
		require.NoError(t, err)
	}
	return conn
}

// TestTreatCallsWhatItNames is why TREAT is refused.
func TestTreatCallsWhatItNames(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a server")
	}
	ok, did, err := effect(t.Context(), build(t, pgtest.Database(t)), "select treat(-1 as lo_creat)", "on")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "wrote", did)
}

// TestAViewsDefinitionShowsWhatItsPlanHides is about the residue that the package's doc names.
func TestAViewsDefinitionShowsWhatItsPlanHides(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a server")
	}
	conn := build(t, pgtest.Database(t))
	ok, did, err := effect(t.Context(), conn, "select * from vl", "on")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "called a function", did)

	lines, err := explain(t.Context(), conn, "select * from vl")
	require.NoError(t, err)
	require.Empty(t, alone(sqltext.ScanPlan(lines)), "PostgreSQL shows LIMIT's argument now: say so in the doc")
	r, err := conn.Exec(t.Context(), "select pg_get_viewdef('vl'::regclass)").ReadAll()
	require.NoError(t, err)
	require.Equal(t, "evil", alone(sqltext.Scan(string(r[0].Rows[0][0]))))
}

// TestPlansOfOrdinaryReadsAreUnderstood: a refusal here would be needless.
func TestPlansOfOrdinaryReadsAreUnderstood(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a server")
	}
	ordinary(t, pgtest.Database(t))
}

func TestPlansOfOrdinaryReadsAreUnderstoodOnAnyVersion(t *testing.T) {
	if os.Getenv("LMIPOOL_TEST_MATRIX") != "1" {
		t.Skip("LMIPOOL_TEST_MATRIX is not 1")
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) { ordinary(t, server(t, version)) })
	}
}

func ordinary(t *testing.T, dsn string) {
	t.Helper()
	conn := build(t, dsn)
	_, err := conn.Exec(t.Context(), `create table u (id int primary key, "two words" text, at timestamptz, j jsonb, p point, n numeric(10,2));
		create index on u (lower("two words")); create index on u using gist (p); insert into u select i, i::text, now(), '{}', '(1,2)', i from generate_series(1, 5000) i; analyze u;
		create table part (id int, x text) partition by range (id); create table part1 partition of part for values from (0) to (10);
		create table part2 partition of part for values from (10) to (20); create index on part (id)`).ReadAll()
	require.NoError(t, err)
	for _, settings := range []string{
		"", "set enable_seqscan = off; set enable_hashjoin = off; set enable_hashagg = off; set enable_sort = off",
		"set enable_indexscan = off; set enable_nestloop = off; set enable_hashjoin = off; set enable_bitmapscan = on",
		"set enable_seqscan = on; set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0; set jit_above_cost = 0; reset enable_hashjoin",
	} {
		_, err := conn.Exec(t.Context(), "commit; "+settings).ReadAll()
		require.NoError(t, err)
		for _, sql := range []string{
			`select id, lower("two words") from u where id = 7`,
			`select * from u where id in (1, 2, 3) and "two words" ~ e'^\\d+$' order by at desc nulls last limit 10`,
			`select * from u where lower("two words") = e'x\\y' or id between 3 and 5`,
			`select count(*), sum(n), max(at) filter (where id > 3) from u group by date_trunc('day', at) having count(*) > 1`,
			`select row_number() over (partition by id % 3 order by at), sum(n) over (order by id rows between 1 preceding and current row) from u`,
			`select * from (select id, rank() over (order by id) r from u) x where r < 10`,
			`select (select count(*) from t where t.a = u.id), exists (select from t where a = id), array(select a from t) from u`,
			`select * from u where id not in (select a from t) and id > all (select a from t)`,
			`select * from u where id in (select a from t)`,
			`with x as materialized (select * from u where id < 9) select * from x a join x b using (id)`,
			`with recursive r(i) as (select 1 union all select i + 1 from r where i < 9) select * from r`,
			`select * from u left join t on u.id = t.a full join u z on z.id = u.id`,
			`select id from u union select a from t except select 3 intersect select 4`,
			`select * from u order by p <-> point '(3,3)' limit 3`,
			`select j -> 'a' ->> 'b', jsonb_agg(j), json_build_object('a', id), jsonb_each_text.key from u, jsonb_each_text(j) group by 1, u.j, id, key`,
			`select n::numeric(5, 1), "two words"::character varying(3), at::timestamp(2) without time zone, extract(epoch from at), at at time zone 'utc', substring("two words" from 1 for 2) from u`,
			`select * from part where id = 3 or id = 14`, `select * from part where x is null order by id limit 3`,
			`select case when id > 3 then coalesce("two words", 'it''s') else trim(both 'x' from "two words") end from u`,
			`values (1, 'a'), (2, 'b')`, `table u`, `select 1`, `select from u where false`,
			`select generate_series(1, 3), unnest('{1,2}'::int[])`, `select * from unnest('{1,2}'::int[], '{3}'::int[]) with ordinality x(a, b, c)`,
			`select * from generate_series(1, 3) as g(i), lateral (select i + 1 as k) l where k > 2`,
			`select * from json_to_recordset('[{"a":1}]') as x(a int, b text)`, `select * from (values (1), (2)) v(a) join u on u.id = v.a`,
			`select distinct on (id % 5) id from u order by id % 5, id`, `select * from u where ctid = '(0,1)'`,
			`select string_agg("two words", ',' order by id), percentile_cont(0.5) within group (order by id), count(distinct n) from u`,
			`select id from u group by grouping sets ((id), ())`, `select * from u where (id, "two words") > (3, 'x') and row(id, n) is not null`,
		} {
			require.Empty(t, sqltext.Scan(sql).Refused, sql)
			lines, err := explain(t.Context(), conn, sql)
			require.NoError(t, err, sql)
			assert.Empty(t, alone(sqltext.ScanPlan(lines)), "%s\n%s", sql, strings.Join(lines, "\n"))
		}
		for sql, why := range map[string]string{
			"select * from t for update": "plan node", "insert into t values (1, '')": "plan node", "select * from v": "evil", "select * from vv": "evil",
			"select * from vt": "hidden", "select t.hidden from t": "hidden", "select * from vf": "evil",
			"update t set a = 1": "plan node", "with x as (delete from t returning a) select * from x": "plan node",
			"select E'a\\nb', a from t": "unterminated string", "select a operator(s.+) a from t": "operator",
		} {
			lines, err := explain(t.Context(), conn, sql)
			require.NoError(t, err, sql)
			assert.Equal(t, why, alone(sqltext.ScanPlan(lines)), "%s\n%s", sql, strings.Join(lines, "\n"))
		}
	}
}

func TestScanPlanRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, plan := range []string{
		"", "Foreign Scan on public.t\n  Output: a", "Custom Scan (X) on t", "Result\n  Secret: 1", "Result\n  What is this",
		"Result\n\nResult", "Utility Statement", "Append\n  ->  LockRows", "Append\n  ->  Async Foreign Scan on public.x",
		"Seq Scan on pg_temp.t", "Function Scan on public.f", "Result\n  Output: 'a\n  ->  Result", "Seq Scan on public.t f(1)",
		"Result\n  Output: (1", "Delete on public.t\n  ->  Seq Scan on public.t",
	} {
		assert.NotEmpty(t, sqltext.ScanPlan(strings.Split(plan, "\n")).Refused, plan)
	}
	assert.NotEmpty(t, sqltext.ScanPlan(nil).Refused)
	assert.NotEmpty(t, sqltext.ScanPlan([]string{"Result", "  Output: 'a\nb'"}).Refused)
}
