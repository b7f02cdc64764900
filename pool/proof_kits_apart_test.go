package pool_test

// apartKits are functions of a user's own that take a place of PostgreSQL's: they change what a text means that knows nothing of
// them.
var apartKits = []kit{
	{
		name: "overloads", apart: true,
		ddl: function("lower", "int", "text", "'a'", "stable") +
			function("length", "t1", "int", "1", "stable") +
			function("upper", "varchar", "text", "'A'", "immutable") +
			function("abs", "t1", "int", "1", "stable") +
			function("round", "numeric, text", "int", "1", "volatile") +
			function("num_nulls", "int, int", "int", "1", "volatile") +
			function("acc", "bigint, t1", "bigint", "1", "stable") +
			function("int4", "mood", "int", "1", "stable") +
			function("generate_series", "mood, mood", "setof int", "query select 1", "stable") + `
			create aggregate count(t1) (sfunc = acc, stype = bigint, initcond = '0');
			create table tv (vid int, v varchar); insert into tv values (1, 'a'), (2, 'b');`,
		plants: []plant{
			p("text", "lower(«int»)", "lower", byBoth),
			p("text", `"lower"(«int»)`, "lower", byBoth),
			p("text", "(«int»).lower", "lower", byBoth),
			p("int", "length(«@t1»)", "length", byBoth),
			p("int", "«@t1».length", "length", byBoth),
			p("text", "upper(«@tv».v)", "upper", byBoth),
			p("text", "(«@tv».v).upper", "upper", byBoth),
			p("text", "upper('x'::varchar)", "upper", byBoth),
			p("int", "«@t1».abs", "abs", byBoth),
			p("int", "abs(«@t1»)", "abs", byBoth),
			p("int", "round(«num», «text»)", "round", byBoth),
			p("int", "num_nulls(«int», «int»)", "num_nulls", byBoth),
			p("int", "(select count(t1) from t1)::int", "count,acc", byBoth),
			p("int", "int4(«mood»)", "int4", byBoth),
			p("int", "(«mood»).int4", "int4", byBoth),
			p("int", "(select x from generate_series('ok'::mood, 'good') x limit 1)", "generate_series", byBoth),
		},
	},
	varcharKit("equal", "=", "<>"),
	varcharKit("order", "<", "<=", ">=", ">"),
	varcharKit("like", "~~", "!~~", "~~*", "!~~*", "~", "!~"),
	{
		name: "arithmetic", apart: true,
		ddl: function("padd", "text, int", "text", "'a'", "immutable") +
			function("pneg", "text", "text", "'a'", "stable") +
			function("pcat", "int, int", "text", "'a'", "immutable") +
			function("pget", "text, text", "text", "'a'", "stable") +
			function("pin", "int[], int", "bool", "true", "immutable") +
			function("psum", "int, int", "int", "1", "immutable") + `
			create schema s3;
			create operator + (function = padd, leftarg = text, rightarg = int);
			create operator - (function = pneg, rightarg = text);
			create operator || (function = pcat, leftarg = int, rightarg = int);
			create operator -> (function = pget, leftarg = text, rightarg = text);
			create operator @> (function = pin, leftarg = int[], rightarg = int);
			create operator s3.+ (function = psum, leftarg = int, rightarg = int);
			create operator s3.= (function = pin, leftarg = int[], rightarg = int);`,
		plants: []plant{
			p("text", "«@t1».name + «int»", "padd", byBoth),
			p("text", "- («text»)", "pneg", byBoth),
			p("text", "«int» || «int»", "pcat", byBoth),
			p("text", "«text» -> «text»", "pget", byBoth),
			p("bool", "«arr» @> «int»", "pin", byBoth),
			p("int", "«int» operator(s3.+) «int»", "psum", byBoth),
			p("int", `«int» operator ( "s3" . + ) «int»`, "psum", byBoth),
			p("bool", "«arr» operator(s3.=) «int»", "pin", byBoth),
		},
	},
	{
		name: "casts of built-in types", apart: true,
		ddl: function("d2i", "timestamptz", "int", "1", "stable") +
			function("t2j", "text", "jsonb", "'{}'::jsonb", "immutable") +
			function("n2b", "numeric", "bool", "true", "immutable") +
			function("a2i", "int[]", "int", "1", "immutable") + `
			create cast (timestamptz as int) with function d2i(timestamptz) as implicit;
			create cast (text as jsonb) with function t2j(text) as assignment;
			create cast (numeric as bool) with function n2b(numeric);
			create cast (int[] as int) with function a2i(int[]) as implicit;`,
		plants: []plant{
			p("int", "«ts» + 1", "d2i", byBoth),
			p("int", "(«ts»)::int", "d2i", byBoth),
			p("int", "abs(«ts»)", "d2i", byBoth),
			p("bool", "«ts» in («qint»)", "d2i", byBoth),
			p("json", "(«@t1».name)::jsonb", "t2j", byBoth),
			p("json", "cast(«@t2».label as jsonb)", "t2j", byBoth),
			p("bool", "(«num»)::bool", "n2b", byBoth),
			p("int", "«arr» + 1", "a2i", byBoth),
			p("bool", "«arr» = 1", "a2i", byBoth),
		},
	},
	{
		name: "a schema in front", apart: true,
		ddl: `create schema evil; set search_path = evil, public;` +
			function("lower", "text", "text", "'a'", "stable") +
			function("plus", "int, int", "int", "1", "immutable") +
			function("iseq", "int, int", "bool", "true", "immutable") +
			function("islike", "text, text", "bool", "true", "immutable") +
			function("chk", "text", "bool", "true", "stable") +
			function("vf", "int", "int", "$1", "stable") + `
			create operator evil.+ (function = plus, leftarg = int, rightarg = int);
			create operator evil.= (function = iseq, leftarg = int, rightarg = int);
			create operator evil.~~ (function = islike, leftarg = text, rightarg = text);
			create domain evil.text as pg_catalog.text check (evil.chk(value));
			create view evil.t2 as select evil.vf(num) as num, t1_id, label, made, p from public.t2;
			reset search_path;`,
		after: "alter database «db» set search_path = evil, pg_catalog, public",
		plants: []plant{
			p("text", "lower(«text»)", "lower", byBoth),
			p("text", "pg_catalog.lower(«text»)", "", 0),
			p("int", "«int» + «int»", "plus", byBoth),
			p("bool", "«int» = «int»", "iseq", byBoth),
			p("bool", "«int» in («int», «int»)", "iseq", byBoth),
			p("bool", "«int» = any («arr»)", "iseq", byBoth),
			p("int", "nullif(«int», «int»)", "iseq", byBoth),
			p("int", "case «int» when «int» then 1 else 2 end", "iseq", byBoth),
			p("bool", "«int» is distinct from «int»", "iseq", byBoth),
			p("int", "(select count(*) from t1 natural join (select 1 as id) s)::int", "iseq", byBoth),
			p("int", "(select count(*) from t1 join (select 1 as id) s using (id))::int", "iseq", byBoth),
			p("bool", "'a' like 'b'", "islike", byBoth),
			p("text", "('a'::text)::varchar::pg_catalog.text", "chk", byRun),
			p("text", "(«int»)::text", "chk", byRun),
			p("text", "cast('a' as text)", "chk", byRun),
			p("int", "(select num from t2 limit 1)", "vf", byBoth),
			p("qint", "select num from t2", "vf", byBoth),
		},
	},
}

// varcharKit puts operators for varchar, in public, beside those of PostgreSQL for text: they fit better.
func varcharKit(name string, symbols ...string) kit {
	k := kit{name: "varchar " + name, apart: true, ddl: "create table tv (vid int, v varchar, w varchar(3)); insert into tv values (1, 'a', 'b'), (2, 'b', 'b');\n",
		types: map[string][]string{"vc": {"«@tv».v", "«@tv».v", "«@tv».w", "'a'::varchar", "varchar 'b'", "«$vc»::varchar"}}}
	runs := ""
	for i, s := range symbols {
		f := "v" + name + string(rune('a'+i))
		k.ddl += function(f, "varchar, varchar", "bool", "true", "immutable") + "create operator " + s + " (function = " + f + ", leftarg = varchar, rightarg = varchar);\n"
		runs += f + ","
	}
	k.plants = []plant{p("vc", "«@tv».v", runs, 0), p("vc", "'a'::varchar", runs, 0), p("vc", "(«text»)::varchar", runs, 0)}
	for _, s := range symbols {
		k.plants = append(k.plants,
			p("bool", "«@tv».v "+s+" «@tv».w", runs, byBoth),
			p("bool", "«@tv».v "+s+" any (array['a'::varchar, «@tv».v])", runs, byBoth))
	}
	more := map[string][]string{
		"equal": {"«@tv».v in («@tv».w, 'x'::varchar)", "«@tv».v not in (select v from tv)", "nullif(«@tv».v, «@tv».w) is null", "«@tv».v is distinct from «@tv».w",
			"case «@tv».v when «@tv».w then true else false end", "exists (select from tv a join tv b using (v))", "exists (select from tv a natural join (select v from tv) b)",
			"not («@tv».v in (select w from tv))"},
		"order": {"«@tv».v between 'a'::varchar and «@tv».w", "«@tv».v not between symmetric «@tv».v and «@tv».w", "«@tv».v > all (select v from tv)"},
		"like": {"«@tv».v like «@tv».w", "«@tv».v not like «@tv».w", "«@tv».v ilike «@tv».w", "«@tv».v not ilike «@tv».w", "«@tv».v like any (array[«@tv».w])",
			"«@tv».v similar to 'a'"},
	}
	for _, text := range more[name] {
		sees := byBoth
		if text == "«@tv».v similar to 'a'" { // its pattern is a text
			continue
		}
		k.plants = append(k.plants, p("bool", text, runs, sees))
	}
	return k
}
