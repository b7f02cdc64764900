package pool_test

// nameKits are functions that a statement names, with a parenthesis or after a dot.
var nameKits = []kit{
	{
		name: "calls",
		ddl: function("fi", "int", "int", "$1", "volatile") +
			function("ft", "text", "text", "$1", "stable") +
			function("fb", "bool", "bool", "$1", "immutable") +
			function("fdef", "a int default 1, b text default 'x'", "int", "$1", "volatile") +
			function("fvar", "variadic int[]", "int", "$1[1]", "volatile") +
			function("fany", "anyelement", "anyelement", "$1", "stable") +
			function("farr", "anyarray", "int", "1", "stable") +
			function("fset", "int", "setof int", "query select 1 union all select 2", "volatile") +
			function("ftab", "int", "table(x int, y text)", "query select 1, 'a'::text", "volatile") +
			function("fopf", "int, int", "int", "coalesce($1, 0) + coalesce($2, 0)", "immutable") +
			function("fin", "int", "int", "$1", "immutable") +
			function("fhidden", "int", "int", "$1", "volatile") + `
			create function fsql(int) returns int language sql stable as 'select fhidden($1)';
			create function fsrf(int) returns setof int language sql stable as 'select fhidden($1) union all select 2';
			create function fatomic(a int) returns int language sql begin atomic select fhidden(a); end;
			create function fout(int, out a int, out b text) language plpgsql as $f$ begin raise notice 'planted fout'; a := 1; end $f$;
			create schema s2;
			create function s2.apart(int) returns int language plpgsql` + plantBody("apart", "$1") + `;
			create aggregate uagg(int) (sfunc = fopf, stype = int);
			create aggregate ufin(int) (sfunc = int4pl, stype = int, initcond = '0', finalfunc = fin);
			create aggregate uord(order by int) (sfunc = fopf, stype = int, finalfunc = fin);
			create aggregate umov(int) (sfunc = int4pl, stype = int, initcond = '0', msfunc = fopf, minvfunc = fopf, mstype = int, minitcond = '0');`,
		plants: []plant{
			p("int", "«~fi»(«int»)", "fi", byBoth),
			p("text", "«~ft»(«text»)", "ft", byBoth),
			p("bool", "«~fb»(«bool»)", "fb", byBoth),
			p("int", "«~fdef»(b => «text», a => «int»)", "fdef", byBoth),
			p("int", "«~fdef»(«int», b := «text»)", "fdef", byBoth),
			p("int", "«~fdef»()", "fdef", byBoth),
			p("int", "«~fvar»(«int», «int»)", "fvar", byBoth),
			p("int", "«~fvar»(variadic «arr»)", "fvar", byBoth),
			p("int", "«~fany»(«int»)", "fany", byBoth),
			p("ts", "«~fany»(«ts»)", "fany", byBoth),
			p("num", "«~fany»(«num»)", "fany", byBoth),
			p("json", "«~fany»(«json»)", "fany", byBoth),
			p("json", "«~fany»(«@t1».doc)", "fany", byBoth),
			p("num", "«~fany»(«@t1».n)", "fany", byBoth),
			p("mood", "«~fany»(«mood»)", "fany", byBoth),
			p("pair", "«~fany»(«pair»)", "fany", byBoth),
			p("arr", "«~fany»(«arr»)", "fany", byBoth),
			p("row", "«~fany»(«@t1»)", "fany", byBoth),
			p("int", "«~farr»(array[«any»])", "farr", byBoth),
			p("int", "(select «.x» from «~fset»(«int!») «.s»(«.x») limit 1)", "fset", byBoth),
			p("int", "(select «~fset»(«int») from «from» limit 1)", "fset", byBoth),
			p("int", "(select «.x» from rows from («~fset»(1), generate_series(1, 3)) «.s»(«.x», «.y») limit 1)", "fset", byBoth),
			p("int", "(select «.x» from t1, lateral «~fset»(t1.id) with ordinality «.s»(«.x») limit 1)", "fset", byBoth),
			p("int", "(select x from «~ftab»(«int!») limit 1)", "ftab", byBoth),
			p("qint", "select x from «~ftab»(1)", "ftab", byBoth),
			p("int", "(«~fout»(«int»)).a", "fout", byBoth),
			p("int", "(select a from «~fout»(«int!»))", "fout", byBoth),
			p("int", "«~fsql»(«int»)", "fhidden,fsql", byBoth),
			p("int", "(select «.x» from «~fsrf»(«int!») «.s»(«.x») limit 1)", "fhidden,fsrf", byBoth),
			p("int", "«~fatomic»(«int»)", "fhidden,fatomic", byBoth),
			p("int", "«~s2.apart»(«int»)", "apart", byBoth),
			p("int", "(select «~uagg»(«int») from «from»)", "uagg,fopf", byBoth),
			p("int", "(select «~uagg»(distinct «int») filter (where «bool») from «from»)", "uagg,fopf", byBoth),
			p("int", "(select «~uagg»(«int» order by «any^») from «from»)", "uagg,fopf", byBoth),
			p("int", "(select «~uagg»(«int») over (partition by «any^») from «from» limit 1)", "uagg,fopf", byBoth),
			p("int", "(select «~ufin»(«int») from «from»)", "ufin,fin", byBoth),
			p("int", "(select «~uord»() within group (order by «int» + 0) from «from»)", "uord,fin", byBoth),
			p("int", "(select «~umov»(«int») over (order by id rows between 1 preceding and current row) from t1 a_t1, t2 a_t2, v1 a_v1, pt a_pt limit 1)", "umov,fopf", byBoth),
		},
	},
	{
		name: "dots",
		ddl: `create type comp as (cx int, cy text);
			create table tc (cid int, c comp, carr comp[]);
			insert into tc values (1, '(1,a)', '{"(1,a)"}'), (2, '(2,b)', '{}');` +
			function("seen", "t1", "int", "1", "stable") +
			function("told", "t1", "text", "'a'", "volatile") +
			function("held", "t1", "bool", "true", "stable") +
			function("seen_def", "t1, int default 1", "int", "1", "stable") +
			function("seen_var", "variadic t1[]", "int", "1", "stable") +
			function("seen_any", "anyelement", "int", "1", "stable") +
			function("seen_set", "t1", "setof int", "query select 1", "stable") +
			function("seen_part", "pair", "int", "1", "stable") +
			function("seen_comp", "comp", "int", "1", "stable") +
			function("seen_v1", "v1", "int", "1", "stable") +
			function("seen_int", "int", "int", "1", "stable") +
			function("seen_text", "text", "int", "1", "stable") +
			function("seen_sub", "comp", "pair", "row(1, 2)::pair", "stable") +
			function("seen_rec", "record", "int", "1", "stable") + `
			create domain dpair as pair;` +
			function("seen_dom", "dpair", "int", "1", "stable"),
		plants: []plant{
			p("int", "«@t1».«~.seen»", "seen", byBoth),
			p("text", "«@t1».«~.told»", "told", byBoth),
			p("bool", "«@t1».«~.held»", "held", byBoth),
			p("int", "(«@t1»).«~.seen»", "seen", byBoth),
			p("int", "(«@t1».*).«~.seen»", "seen", byBoth),
			p("int", "(select public.t1.«~.seen» from public.t1 limit 1)", "seen", byBoth),
			p("int", "((select a from t1 a limit 1)).«~.seen»", "seen", byBoth),
			p("int", "(null::t1).«~.seen»", "seen", byBoth),
			p("int", "(array[«@t1», null])[1].«~.seen»", "seen", byBoth),
			p("int", "(jsonb_populate_record(null::t1, «json»)).«~.seen»", "seen", byBoth),
			p("int", "(select (x.s).«~.seen» from (select a as s from t1 a) x limit 1)", "seen", byBoth),
			p("int", "(coalesce(«@t1», null)).«~.seen»", "seen", byBoth),
			p("int", "(case when «bool» then «@t1» end).«~.seen»", "seen", byBoth),
			p("int", "«@t1».«~.seen_def»", "seen_def", byBoth),
			p("int", "«@t1».«~.seen_var»", "seen_var", byBoth),
			p("int", "«@t1».«~.seen_any»", "seen_any", byBoth),
			p("int", "(select a.«~.seen_set» from t1 a limit 1)", "seen_set", byBoth),
			p("int", "«@t1».«~.seen_rec»", "seen_rec", byBoth),
			p("int", "(row(«int», «text»)).«~.seen_rec»", "seen_rec", byBoth),
			p("int", "(«@t2».p).«~.seen_part»", "seen_part", byBoth),
			p("int", "(row(«int», «int»)::pair).«~.seen_part»", "seen_part", byBoth),
			p("int", "«@tc».carr[1].«~.seen_comp»", "seen_comp", byBoth),
			p("int", "(«@tc».carr)[1].«~.seen_comp»", "seen_comp", byBoth),
			p("int", "(«@tc».c).«~.seen_sub».«~.seen_part»", "seen_sub", byBoth),
			p("int", "(«$comp»::comp).«~.seen_comp»", "seen_comp", byBoth),
			p("int", "«@v1».«~.seen_v1»", "seen_v1", byBoth),
			p("int", "(«int»).«~.seen_int»", "seen_int", byBoth),
			p("int", "(«text»).«~.seen_text»", "seen_text", byBoth),
			p("int", "(array[«int», 2])[1].«~.seen_int»", "seen_int", byBoth),
			p("int", "(row(1, 2)::dpair).«~.seen_dom»", "seen_dom", byBoth),
			p("int", "(select «.x».«~.seen» from t1 as «.x» order by «.x».«~.seen» limit 1)", "seen", byBoth),
			p("qint", "with w as (select * from t1) select t1.«~.seen» from t1, w", "seen", byBoth),
			p("qint", "select (t).«~.seen_part» from unnest(array[row(1, 2)::pair]) t", "seen_part", byBoth),
			p("pair", "(«@tc».c).«~.seen_sub»", "seen_sub", byBoth),
			p("stmt", "select id from t1 where (t1.«~.seen», 1) in (select id, 1 from t1)", "seen", byBoth),
			p("stmt", "select id from t1 u where u.«~.seen» not in (select id from t1)", "seen", byBoth),
			p("stmt", "select id from t1 u where u.«~.seen» = any (select id from t1)", "seen", byBoth),
			p("stmt", "select id from t1 u where u.«~.seen» > all (select id from t1)", "seen", byBoth),
			p("stmt", "values (1), ((select t1.«~.seen» from t1 limit 1)), (3)", "seen", byBoth),
			p("stmt", "select id from t1 limit (select u.«~.seen» from t1 u limit 1)", "seen", byBoth),
			p("stmt", "select id from t1 offset (select u.«~.seen» from t1 u limit 1)", "seen", byBoth),
		},
	},
}
