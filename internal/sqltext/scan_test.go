package sqltext_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// names returns the functions as one string.
func names(s sqltext.Statement) string {
	var all []string
	for _, f := range s.Functions {
		all = append(all, f.String())
	}
	return strings.Join(all, " ")
}

var accepted = []struct{ sql, functions string }{
	{"select 1", ""},
	{"SELECT * FROM t WHERE id = $1", ""},
	{"table t", ""},
	{"values (1), (2)", ""},
	{"((select 1) union all (select 2)) order by 1", ""},
	{"select 1;", ""},
	{"select 1 ; -- over\n /* and out */ ", ""},
	{"-- first\n/* a /* nested */ one */ select 1", ""},

	// Names.
	{"select now(), now()", "now"},
	{"select f(g(h()))", "f g h"},
	{"select Pg_Catalog.LOWER(x)", "pg_catalog.lower"},
	{`select "Lower"(x), "s"."f" (x)`, "Lower s.f"},
	{`select "a""b"(1)`, `a"b`},
	{"select lower/* x */(x)", "lower"},
	{"select s -- y\n . /* z */ f\n(x)", "s.f"},
	{"select a$b(1), é(1)", "a$b é"},
	{"select f\u00a0(1)", "f\u00a0"}, // a no-break space is a letter
	{"select count(*), t.* from t", "count"},
	{"select (x).f(1)", "f"},
	{"select left(a, 1), right (b, 2)", "left right"},
	{"select current_schema", "current_schema"},
	{"select current_schema(), current_user, session_user, current_date, localtime(0)", "current_schema"},
	{`select "select"(1), "in"(2)`, "select in"},
	{"select s.select(1)", "s.select"},
	{"select f(select_)", "f"},
	{"select f($1)", "f"},
	{"select 1e10, 1.5e-3, 0x1F, 1_000, .5, 5.", ""},
	{"select 1-f(2)", "f"},

	// Strings and comments.
	{"select 'f(1)', 'it''s g(1)'", ""},
	{"select 'a'\n'b' f", ""},
	{"select 'a' -- c\n -- d\n 'b;'", ""},
	{`select E'it\'s f(1)', e'\\', f(E'\\')`, "f"},
	{"select E'a'\n'\\'; f(1)', g(1)", "g"},
	{"select $$f('1);$$, $a$ $$ $b$ f( $a$, g(1)", "g"},
	{"select B'01', x'1F', N'f(1)'", ""},
	{"select 1 +-- f(\n 2", ""},
	{"select 2 */* f( */ 3", ""},
	{"select 2 -/* f(' */ 3", ""},
	{"select 1 -- \rfrom f(1)", "f"}, // a comment ends at a carriage return too
	{`select "f("`, ""},

	// These are no calls.
	{"select x::numeric(10, 2), x::varchar(3)[], x::my.type(3), cast(x as mytype(4))", ""},
	{"select x::character varying(20), x::bit varying(3), x::timestamp(3) with time zone", ""},
	{"select interval(3) '1 s', interval '1' year, time(0) '12:00', date '2020-01-01'", ""},
	{"with a as (select 1), b(x, y) as not materialized (select 2, 3), c(z) as materialized (select 4) select f(1)", "f"},
	{"with recursive n(i) as (values (1) union all select i + 1 from n where i < 5) table n", ""},
	{"select * from g(1) as t(a, b), lateral (select 1) as u(c)", "g"},
	{"select * from json_to_record($1) as x(a int, b numeric(3, 1))", "json_to_record"},
	{"select * from rows from (f(1), g(2)) with ordinality as t(a, b, c)", "f g"},
	{"select * from a join (select 1) b on (true) left join (c cross join d) using (x)", ""},
	{"select * from a cross join (values (1)) v", ""},
	{"select a in (1, 2), b = any ($1), c <> all (array[1]), d not in (select 1), exists (select 2)", ""},
	{"select row(1, 2), array(select 1), array[f(1)], x[1], (y).z, (a, b) = (c, d)", "f"},
	{"select case when (a) then (b) else (c) end", ""},
	{"select coalesce(a, f(b)), nullif(a, 1), greatest(a, b), least(a, b)", "f"},
	{"select extract(year from f(x)), position('a' in b), trim(both 'x' from y), normalize(z, NFC)", "f"},
	{"select substring(a from 1 for 2), overlay(a placing b from 1 for 2), substring(a, 1)", "substring overlay"},
	{"select x at time zone ('utc'), x collate \"C\", (a, b) overlaps (c, d)", "overlaps"},
	{"select sum(a) filter (where b > 1) over (partition by (c) order by (d)), rank() over w from t window w as (order by (e))", "sum rank"},
	{"select count(*) over (), percentile_cont(0.5) within group (order by f(x)) filter (where (y)) over (z) from t", "count percentile_cont f"},
	{"select a, count(*) from t group by grouping sets ((a), ()), (b) having (true)", "count"},
	{"select grouping(a) from t group by rollup (a)", ""},
	{"select distinct on (a) b from t where (a) order by (a) limit (1) offset (2)", ""},
	{"select string_agg(a, ',' order by f(b) desc) from t fetch first (1) rows only", "string_agg f"},
	{"select a operator(pg_catalog.+) b, operator ( pg_catalog . @ ) c", ""},
	{"select a from t order by a using <", ""},
	{"select 'x'::regclass, ('{1}'::int[])[1]", ""},
	{"select a like ('x'), a similar to ('y')", "like"},
	{"select f(a => 1, b := 2, variadic c)", "f"},
	{"select a from t for read only", ""},

	// Calls that look like something else.
	{"select distinct on (a) over (b) from t", "over"},
	{"select distinct on (a) filter (b) from t", "filter"},
	{
		"select partition(1), over(2), filter(3), by(4), sets(5), cube(6), zone(7), varying(8), join(9), materialized(10)",
		"partition over filter by sets cube zone varying join materialized",
	},
	{"select x at time zone join(1)", "join"},
	{"select not materialized(1)", "materialized"},
	{"with a as (select 1) (select 2) order by 1, f(2)", "f"},
	{"with a as (select * from b, f(1) as (x int), g(2)) select 1", "f g"},
	{"with a as (select 1) select * from a, f(1) as (x int)", "f"},
	{"select first(1), next(2), (select a from t order by f(3) limit 1)", "first next f"},
	{"select * from f(1) as (x int), g(2) as (y int)", "f g"},
	{
		"select json_object('a': f(1)), json_array(1), json(2), json_query('a', 'b'), merge_action(), system_user(1)",
		"json_object f json_array json json_query merge_action system_user",
	},
	{"select * from t tablesample system (10) repeatable (1)", "system repeatable"},
	{"select x[1:::f(2)], x[a::int:f(3)]", "f"},
	{"select f(1)'x', g(2) 'y'", "f g"},
	{"select 1 from t order by f(1) using <, g(1)", "f g"},
}

func TestScanFindsWhatIsCalled(t *testing.T) {
	t.Parallel()
	for _, c := range accepted {
		s := sqltext.Scan(c.sql)
		assert.Empty(t, s.Refused, c.sql)
		assert.Equal(t, c.functions, names(s), c.sql)
	}
}

var refused = []struct{ sql, why string }{
	{"", "empty"},
	{" -- only a comment", "empty"},
	{";", "empty"},
	{"(())", "not a read"},
	{"insert into t values (1)", "not a read"},
	{"explain select 1", "not a read"},
	{"show x", "not a read"},
	{`"select" 1`, "not a read"},
	{"sélect 1", "not a read"},
	{"begin", "not a read"},
	{"1", "not a read"},
	{"; select 1", "two statements"},
	{"select 1; select 2", "two statements"},
	{"select 1;;", "two statements"},
	{"select 1 /* ; */ ; -- x\n insert into t values (1)", "two statements"},
	{"select 1 --\r; drop table t", "two statements"},

	{"with x as (insert into t values (1) returning *) select * from x", "insert"},
	{"with x as (select 1) delete from t", "delete"},
	{"with x as (select 1) UPDATE t set a = 1", "update"},
	{"with x as (select 1) merge/**/into t using x on true when matched then do nothing", "merge"},
	{"select 1 into x", "into"},
	{"select * into temp x from t", "into"},
	{"select * from t for update", "for update"},
	{"select * from t FOR /* x */ No -- y\n Key Update", "for no"},
	{"select * from (select * from t for share) x", "for share"},
	{"table t for key share skip locked", "for key"},
	{"select treat('s' as nextval)", "treat"},
	{"select lock from t", "lock"},

	{"select a.b.c(1)", "three-part name"},
	{"select a operator(public.+) b", "operator"},
	{`select a operator("Pg_catalog".+) b`, "operator"},
	{"select a operator(+) b", "operator"},
	{"select operator(pg_catalog.f(1))", "operator"},
	{`select U&'\0041'`, "unicode escape"},
	{`select u&"f\0061"(1)`, "unicode escape"},
	{`select 'a\'`, "backslash"},
	{`select '\', f(1), '''`, "backslash"},
	{"select 'a'\n'\\'", "backslash"},
	{`select N'\'`, "backslash"},
	{"select 'a", "unterminated string"},
	{"select E'a\\'", "unterminated string"},
	{"select E'a\\", "unterminated string"},
	{"select $a$ x $b$", "unterminated string"},
	{"select $a$ x $A$", "unterminated string"},
	{`select "a`, "unterminated name"},
	{`select "a""`, "unterminated name"},
	{"select /* /* */ 1", "unterminated comment"},
	{"select 1 +/* */ /* /* */", "unterminated comment"},
	{`select ""`, "empty name"},
	{"select B'01'''", "bit string"},
	{"select X'0g'", "bit string"},
	{"select (1", "unbalanced parentheses"},
	{"select 1)", "unbalanced parentheses"},
	{"select (1]", "unbalanced parentheses"},
	{"select x[(1])", "unbalanced parentheses"},
	{"select 1\x00", "encoding"},
	{"select '\xff'", "encoding"},
	{"select 1\v", "character"},
	{`select \x`, "character"},
	{"select $", "character"},
	{"select {fn f()}", "character"},
	{"select 1a", "number"},
	{"select 1_$$, f(1), 2 as a$$", "number"},
	{"select 1E'\\''", "number"},
	{"select $1a", "parameter"},
	{"select $1$$x$$", "parameter"},
	{"select " + strings.Repeat("x", 64), "long name"},
	{`select "` + strings.Repeat("é", 32) + `"`, "long name"},
}

func TestScanRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range refused {
		assert.Equal(t, c.why, sqltext.Scan(c.sql).Refused, c.sql)
	}
}

func TestHarmlessIsAboutPgCatalog(t *testing.T) {
	t.Parallel()
	assert.True(t, sqltext.Function{Name: "lower"}.Harmless())
	assert.True(t, sqltext.Function{Schema: "pg_catalog", Name: "lower"}.Harmless())
	assert.False(t, sqltext.Function{Schema: "public", Name: "lower"}.Harmless())
	assert.False(t, sqltext.Function{Name: "Lower"}.Harmless())
	assert.Equal(t, "public.lower", sqltext.Function{Schema: "public", Name: "lower"}.String())
}

// FuzzScan checks that comments and white space do not change what Scan returns, and that a refused text stays refused inside a longer one.
func FuzzScan(f *testing.F) {
	for _, c := range accepted {
		f.Add(c.sql)
	}
	for _, c := range refused {
		f.Add(c.sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		s := sqltext.Scan(sql)
		require.Equal(t, s, sqltext.Scan(sql))
		for _, same := range []string{"-- ; f(1)\n" + sql, "\n\t" + sql, "/* /* ' */ $$ */" + sql, sql + "\n"} {
			require.Equal(t, s, sqltext.Scan(same), same)
		}
		for _, name := range s.Functions {
			require.NotEmpty(t, name.Name)
		}
		if s.Refused == "" {
			require.Equal(t, s, sqltext.Scan(sql+" -- ; f(1)"))
			require.Equal(t, s, sqltext.Scan(sql+"\n/* ' */"))
			if strings.Contains(sql, ";") {
				return
			}
			require.Equal(t, s, sqltext.Scan(sql+"\n;"))
			require.Equal(t, "two statements", sqltext.Scan(sql+"\n; select 1").Refused)
			require.Equal(t, "into", sqltext.Scan(sql+"\ninto x").Refused)
			require.Equal(t, "for update", sqltext.Scan(sql+"\nfor update").Refused)
			require.Equal(t, s, sqltext.Scan("(\n"+sql+"\n)"))
			inside := sqltext.Scan("select evil(1), (\n" + sql + "\n)")
			require.Empty(t, inside.Refused)
			require.Equal(t, "evil", inside.Functions[0].Name)
			for _, name := range s.Functions {
				require.Contains(t, inside.Functions, name)
			}
			return
		}
		switch s.Refused {
		case "empty", "not a read", "unbalanced parentheses", "unterminated string", "unterminated name", "unterminated comment":
			// Such a text may mean something else with the text that is put around it.
		default:
			require.NotEmpty(t, sqltext.Scan("select (\n"+sql+"\n)").Refused)
			require.NotEmpty(t, sqltext.Scan(sql+"\n (select 1)").Refused)
		}
	})
}
