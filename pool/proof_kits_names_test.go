package pool_test

// nameKits are functions that a statement names, with a parenthesis or after a dot.
var nameKits = []kit{
	{
		name: "calls",
		ddl: plantedFunction("fi", "int", "int", "$1", "volatile") +
			plantedFunction("ft", "text", "text", "$1", "stable") +
			plantedFunction("fb", "bool", "bool", "$1", "immutable") +
			plantedFunction("fdef", "a int default 1, b text default 'x'", "int", "$1", "volatile") +
			plantedFunction("fvar", "variadic int[]", "int", "$1[1]", "volatile") +
			plantedFunction("fany", "anyelement", "anyelement", "$1", "stable") +
			plantedFunction("farr", "anyarray", "int", "1", "stable") +
			plantedFunction("fset", "int", "setof int", "query select 1 union all select 2", "volatile") +
			plantedFunction("ftab", "int", "table(x int, y text)", "query select 1, 'a'::text", "volatile") +
			plantedFunction("fopf", "int, int", "int", "coalesce($1, 0) + coalesce($2, 0)", "immutable") +
			plantedFunction("fin", "int", "int", "$1", "immutable") +
			plantedFunction("fhidden", "int", "int", "$1", "volatile") + `
			create function fsql(int) returns int language sql stable as 'select fhidden($1)';
			create function fsrf(int) returns setof int language sql stable as 'select fhidden($1) union all select 2';
			create function fatomic(a int) returns int language sql begin atomic select fhidden(a); end;
			create function fout(int, out a int, out b text) language plpgsql as $f$ begin raise notice 'planted fout'; perform set_config('app.planted', 'x', false); a := 1; end $f$;
			create schema s2;
			create function s2.apart(int) returns int language plpgsql` + plantBody("apart", "$1") + `;
			create aggregate uagg(int) (sfunc = fopf, stype = int);
			create aggregate ufin(int) (sfunc = int4pl, stype = int, initcond = '0', finalfunc = fin);
			create aggregate uord(order by int) (sfunc = fopf, stype = int, finalfunc = fin);
			create aggregate umov(int) (sfunc = int4pl, stype = int, initcond = '0', msfunc = fopf, minvfunc = fopf, mstype = int, minitcond = '0');`,
		plants: []plant{
			reach("int", "«~fi»(«int»)", "fi", byBoth),
			reach("text", "«~ft»(«text»)", "ft", byBoth),
			reach("bool", "«~fb»(«bool»)", "fb", byBoth),
			reach("int", "«~fdef»(b => «text», a => «int»)", "fdef", byBoth),
			reach("int", "«~fdef»(«int», b := «text»)", "fdef", byBoth),
			reach("int", "«~fdef»()", "fdef", byBoth),
			reach("int", "«~fvar»(«int», «int»)", "fvar", byBoth),
			reach("int", "«~fvar»(variadic «arr»)", "fvar", byBoth),
			reach("int", "«~fany»(«int»)", "fany", byBoth),
			reach("ts", "«~fany»(«ts»)", "fany", byBoth),
			reach("num", "«~fany»(«num»)", "fany", byBoth),
			reach("json", "«~fany»(«json»)", "fany", byBoth),
			reach("json", "«~fany»(«@t1».doc)", "fany", byBoth),
			reach("num", "«~fany»(«@t1».n)", "fany", byBoth),
			reach("mood", "«~fany»(«mood»)", "fany", byBoth),
			reach("pair", "«~fany»(«pair»)", "fany", byBoth),
			reach("arr", "«~fany»(«arr»)", "fany", byBoth),
			reach("row", "«~fany»(«@t1»)", "fany", byBoth),
			reach("int", "«~farr»(array[«any»])", "farr", byBoth),
			reach("int", "(select «.x» from «~fset»(«int!») «.s»(«.x») limit 1)", "fset", byBoth),
			reach("int", "(select «~fset»(«int») from «from» limit 1)", "fset", byBoth),
			reach("int", "(select «.x» from rows from («~fset»(1), generate_series(1, 3)) «.s»(«.x», «.y») limit 1)", "fset", byBoth),
			reach("int", "(select «.x» from t1, lateral «~fset»(t1.id) with ordinality «.s»(«.x») limit 1)", "fset", byBoth),
			reach("int", "(select x from «~ftab»(«int!») limit 1)", "ftab", byBoth),
			reach("qint", "select x from «~ftab»(1)", "ftab", byBoth),
			reach("int", "(«~fout»(«int»)).a", "fout", byBoth),
			reach("int", "(select a from «~fout»(«int!»))", "fout", byBoth),
			reach("int", "«~fsql»(«int»)", "fhidden,fsql", byBoth),
			reach("int", "(select «.x» from «~fsrf»(«int!») «.s»(«.x») limit 1)", "fhidden,fsrf", byBoth),
			reach("int", "«~fatomic»(«int»)", "fhidden,fatomic", byBoth),
			reach("int", "«~s2.apart»(«int»)", "apart", byBoth),
			reach("int", "(select «~uagg»(«int») from «from»)", "uagg,fopf", byBoth),
			reach("int", "(select «~uagg»(distinct «int») filter (where «bool») from «from»)", "uagg,fopf", byBoth),
			reach("int", "(select «~uagg»(«int» order by «any^») from «from»)", "uagg,fopf", byBoth),
			reach("int", "(select «~uagg»(«int») over (partition by «any^») from «from» limit 1)", "uagg,fopf", byBoth),
			reach("int", "(select «~ufin»(«int») from «from»)", "ufin,fin", byBoth),
			reach("int", "(select «~uord»() within group (order by «int» + 0) from «from»)", "uord,fin", byBoth),
			reach("int", "(select «~umov»(«int») over (order by id rows between 1 preceding and current row) from t1 a_t1, t2 a_t2, v1 a_v1, pt a_pt limit 1)", "umov,fopf", byBoth),
		},
	},
	{
		name: "dots",
		ddl: `create type comp as (cx int, cy text);
			create table tc (cid int, c comp, carr comp[]);
			insert into tc values (1, '(1,a)', '{"(1,a)"}'), (2, '(2,b)', '{}');` +
			plantedFunction("seen", "t1", "int", "1", "stable") +
			plantedFunction("told", "t1", "text", "'a'", "volatile") +
			plantedFunction("held", "t1", "bool", "true", "stable") +
			plantedFunction("seen_def", "t1, int default 1", "int", "1", "stable") +
			plantedFunction("seen_var", "variadic t1[]", "int", "1", "stable") +
			plantedFunction("seen_any", "anyelement", "int", "1", "stable") +
			plantedFunction("seen_set", "t1", "setof int", "query select 1", "stable") +
			plantedFunction("seen_part", "pair", "int", "1", "stable") +
			plantedFunction("seen_comp", "comp", "int", "1", "stable") +
			plantedFunction("seen_v1", "v1", "int", "1", "stable") +
			plantedFunction("seen_int", "int", "int", "1", "stable") +
			plantedFunction("seen_text", "text", "int", "1", "stable") +
			plantedFunction("seen_sub", "comp", "pair", "row(1, 2)::pair", "stable") +
			plantedFunction("seen_rec", "record", "int", "1", "stable") + `
			create domain dpair as pair;` +
			plantedFunction("seen_dom", "dpair", "int", "1", "stable"),
		plants: []plant{
			reach("int", "«@t1».«~.seen»", "seen", byBoth),
			reach("text", "«@t1».«~.told»", "told", byBoth),
			reach("bool", "«@t1».«~.held»", "held", byBoth),
			reach("int", "(«@t1»).«~.seen»", "seen", byBoth),
			reach("int", "(«@t1».*).«~.seen»", "seen", byBoth),
			reach("int", "(select public.t1.«~.seen» from public.t1 limit 1)", "seen", byBoth),
			reach("int", "((select a from t1 a limit 1)).«~.seen»", "seen", byBoth),
			reach("int", "(null::t1).«~.seen»", "seen", byBoth),
			reach("int", "(array[«@t1», null])[1].«~.seen»", "seen", byBoth),
			reach("int", "(jsonb_populate_record(null::t1, «json»)).«~.seen»", "seen", byBoth),
			reach("int", "(select (x.s).«~.seen» from (select a as s from t1 a) x limit 1)", "seen", byBoth),
			reach("int", "(coalesce(«@t1», null)).«~.seen»", "seen", byBoth),
			reach("int", "(case when «bool» then «@t1» end).«~.seen»", "seen", byBoth),
			reach("int", "«@t1».«~.seen_def»", "seen_def", byBoth),
			reach("int", "«@t1».«~.seen_var»", "seen_var", byBoth),
			reach("int", "«@t1».«~.seen_any»", "seen_any", byBoth),
			reach("int", "(select a.«~.seen_set» from t1 a limit 1)", "seen_set", byBoth),
			reach("int", "«@t1».«~.seen_rec»", "seen_rec", byBoth),
			reach("int", "(row(«int», «text»)).«~.seen_rec»", "seen_rec", byBoth),
			reach("int", "(«@t2».p).«~.seen_part»", "seen_part", byBoth),
			reach("int", "(row(«int», «int»)::pair).«~.seen_part»", "seen_part", byBoth),
			reach("int", "«@tc».carr[1].«~.seen_comp»", "seen_comp", byBoth),
			reach("int", "(«@tc».carr)[1].«~.seen_comp»", "seen_comp", byBoth),
			reach("int", "(«@tc».c).«~.seen_sub».«~.seen_part»", "seen_sub", byBoth),
			reach("int", "(«$comp»::comp).«~.seen_comp»", "seen_comp", byBoth),
			reach("int", "«@v1».«~.seen_v1»", "seen_v1", byBoth),
			reach("int", "(«int»).«~.seen_int»", "seen_int", byBoth),
			reach("int", "(«text»).«~.seen_text»", "seen_text", byBoth),
			reach("int", "(array[«int», 2])[1].«~.seen_int»", "seen_int", byBoth),
			reach("int", "(row(1, 2)::dpair).«~.seen_dom»", "seen_dom", byBoth),
			reach("int", "(select «.x».«~.seen» from t1 as «.x» order by «.x».«~.seen» limit 1)", "seen", byBoth),
			reach("qint", "with w as (select * from t1) select t1.«~.seen» from t1, w", "seen", byBoth),
			reach("qint", "select (t).«~.seen_part» from unnest(array[row(1, 2)::pair]) t", "seen_part", byBoth),
			reach("pair", "(«@tc».c).«~.seen_sub»", "seen_sub", byBoth),
			reach("stmt", "select id from t1 where (t1.«~.seen», 1) in (select id, 1 from t1)", "seen", byBoth),
			reach("stmt", "select id from t1 u where u.«~.seen» not in (select id from t1)", "seen", byBoth),
			reach("stmt", "select id from t1 u where u.«~.seen» = any (select id from t1)", "seen", byBoth),
			reach("stmt", "select id from t1 u where u.«~.seen» > all (select id from t1)", "seen", byBoth),
			reach("stmt", "values (1), ((select t1.«~.seen» from t1 limit 1)), (3)", "seen", byBoth),
			reach("stmt", "select id from t1 limit (select u.«~.seen» from t1 u limit 1)", "seen", byBoth),
			reach("stmt", "select id from t1 offset (select u.«~.seen» from t1 u limit 1)", "seen", byBoth),
		},
	},
}
