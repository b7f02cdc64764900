package pool_test

// apartKits are functions of a user's own that take a place of PostgreSQL's: they change what a text means that knows nothing of
// them.
var apartKits = []kit{
	{
		name: "overloads", apart: true,
		ddl: plantedFunction("lower", "int", "text", "'a'", "stable") +
			plantedFunction("length", "t1", "int", "1", "stable") +
			plantedFunction("upper", "varchar", "text", "'A'", "immutable") +
			plantedFunction("abs", "t1", "int", "1", "stable") +
			plantedFunction("round", "numeric, text", "int", "1", "volatile") +
			plantedFunction("num_nulls", "int, int", "int", "1", "volatile") +
			plantedFunction("acc", "bigint, t1", "bigint", "1", "stable") +
			plantedFunction("int4", "mood", "int", "1", "stable") +
			plantedFunction("generate_series", "mood, mood", "setof int", "query select 1", "stable") + `
			create aggregate count(t1) (sfunc = acc, stype = bigint, initcond = '0');
			create table tv (vid int, v varchar); insert into tv values (1, 'a'), (2, 'b');`,
		plants: []plant{
			reach("text", "lower(«int»)", "lower", byBoth),
			reach("text", `"lower"(«int»)`, "lower", byBoth),
			reach("text", "(«int»).lower", "lower", byBoth),
			reach("int", "length(«@t1»)", "length", byBoth),
			reach("int", "«@t1».length", "length", byBoth),
			reach("text", "upper(«@tv».v)", "upper", byBoth),
			reach("text", "(«@tv».v).upper", "upper", byBoth),
			reach("text", "upper('x'::varchar)", "upper", byBoth),
			reach("int", "«@t1».abs", "abs", byBoth),
			reach("int", "abs(«@t1»)", "abs", byBoth),
			reach("int", "round(«num», «text»)", "round", byBoth),
			reach("int", "num_nulls(«int», «int»)", "num_nulls", byBoth),
			reach("int", "(select count(t1) from t1)::int", "count,acc", byBoth),
			reach("int", "int4(«mood»)", "int4", byBoth),
			reach("int", "(«mood»).int4", "int4", byBoth),
			reach("int", "(select x from generate_series('ok'::mood, 'good') x limit 1)", "generate_series", byBoth),
		},
	},
	varcharKit("equal", "=", "<>"),
	varcharKit("order", "<", "<=", ">=", ">"),
	varcharKit("like", "~~", "!~~", "~~*", "!~~*", "~", "!~"),
	{
		name: "arithmetic", apart: true,
		ddl: plantedFunction("padd", "text, int", "text", "'a'", "immutable") +
			plantedFunction("pneg", "text", "text", "'a'", "stable") +
			plantedFunction("pcat", "int, int", "text", "'a'", "immutable") +
			plantedFunction("pget", "text, text", "text", "'a'", "stable") +
			plantedFunction("pin", "int[], int", "bool", "true", "immutable") +
			plantedFunction("psum", "int, int", "int", "1", "immutable") + `
			create schema s3;
			create operator + (function = padd, leftarg = text, rightarg = int);
			create operator - (function = pneg, rightarg = text);
			create operator || (function = pcat, leftarg = int, rightarg = int);
			create operator -> (function = pget, leftarg = text, rightarg = text);
			create operator @> (function = pin, leftarg = int[], rightarg = int);
			create operator s3.+ (function = psum, leftarg = int, rightarg = int);
			create operator s3.= (function = pin, leftarg = int[], rightarg = int);`,
		plants: []plant{
			reach("text", "«@t1».name + «int»", "padd", byBoth),
			reach("text", "- («text»)", "pneg", byBoth),
			reach("text", "«int» || «int»", "pcat", byBoth),
			reach("text", "«text» -> «text»", "pget", byBoth),
			reach("bool", "«arr» @> «int»", "pin", byBoth),
			reach("int", "«int» operator(s3.+) «int»", "psum", byBoth),
			reach("int", `«int» operator ( "s3" . + ) «int»`, "psum", byBoth),
			reach("bool", "«arr» operator(s3.=) «int»", "pin", byBoth),
		},
	},
	{
		name: "casts of built-in types", apart: true,
		ddl: plantedFunction("d2i", "timestamptz", "int", "1", "stable") +
			plantedFunction("t2j", "text", "jsonb", "'{}'::jsonb", "immutable") +
			plantedFunction("n2b", "numeric", "bool", "true", "immutable") +
			plantedFunction("a2i", "int[]", "int", "1", "immutable") + `
			create cast (timestamptz as int) with function d2i(timestamptz) as implicit;
			create cast (text as jsonb) with function t2j(text) as assignment;
			create cast (numeric as bool) with function n2b(numeric);
			create cast (int[] as int) with function a2i(int[]) as implicit;`,
		plants: []plant{
			reach("int", "«ts» + 1", "d2i", byBoth),
			reach("int", "(«ts»)::int", "d2i", byBoth),
			reach("int", "abs(«ts»)", "d2i", byBoth),
			reach("bool", "«ts» in («qint»)", "d2i", byBoth),
			reach("json", "(«@t1».name)::jsonb", "t2j", byBoth),
			reach("json", "cast(«@t2».label as jsonb)", "t2j", byBoth),
			reach("bool", "(«num»)::bool", "n2b", byBoth),
			reach("int", "«arr» + 1", "a2i", byBoth),
			reach("bool", "«arr» = 1", "a2i", byBoth),
		},
	},
	{
		name: "a schema in front", apart: true,
		ddl: `create schema evil; set search_path = evil, public;` +
			plantedFunction("lower", "text", "text", "'a'", "stable") +
			plantedFunction("plus", "int, int", "int", "1", "immutable") +
			plantedFunction("iseq", "int, int", "bool", "true", "immutable") +
			plantedFunction("islike", "text, text", "bool", "true", "immutable") +
			plantedFunction("chk", "text", "bool", "true", "stable") +
			plantedFunction("vf", "int", "int", "$1", "stable") + `
			create operator evil.+ (function = plus, leftarg = int, rightarg = int);
			create operator evil.= (function = iseq, leftarg = int, rightarg = int);
			create operator evil.~~ (function = islike, leftarg = text, rightarg = text);
			create domain evil.text as pg_catalog.text check (evil.chk(value));
			create view evil.t2 as select evil.vf(num) as num, t1_id, label, made, p from public.t2;
			reset search_path;`,
		after: "alter database «db» set search_path = evil, pg_catalog, public",
		plants: []plant{
			reach("text", "lower(«text»)", "lower", byBoth),
			reach("text", "pg_catalog.lower(«text»)", "", 0),
			reach("int", "«int» + «int»", "plus", byBoth),
			reach("bool", "«int» = «int»", "iseq", byBoth),
			reach("bool", "«int» in («int», «int»)", "iseq", byBoth),
			reach("bool", "«int» = any («arr»)", "iseq", byBoth),
			reach("int", "nullif(«int», «int»)", "iseq", byBoth),
			reach("int", "case «int» when «int» then 1 else 2 end", "iseq", byBoth),
			reach("bool", "«int» is distinct from «int»", "iseq", byBoth),
			reach("int", "(select count(*) from t1 natural join (select 1 as id) s)::int", "iseq", byBoth),
			reach("int", "(select count(*) from t1 join (select 1 as id) s using (id))::int", "iseq", byBoth),
			reach("bool", "'a' like 'b'", "islike", byBoth),
			reach("text", "('a'::text)::varchar::pg_catalog.text", "chk", byRun),
			reach("text", "(«int»)::text", "chk", byRun),
			reach("text", "cast('a' as text)", "chk", byRun),
			reach("int", "(select num from t2 limit 1)", "vf", byBoth),
			reach("qint", "select num from t2", "vf", byBoth),
		},
	},
}

// varcharKit puts operators for varchar, in public, beside those of PostgreSQL for text: they fit better.
func varcharKit(name string, symbols ...string) kit {
	k := kit{
		name: "varchar " + name, apart: true, ddl: "create table tv (vid int, v varchar, w varchar(3)); insert into tv values (1, 'a', 'b'), (2, 'b', 'b');\n",
		types: map[string][]string{"vc": {"«@tv».v", "«@tv».v", "«@tv».w", "'a'::varchar", "varchar 'b'", "«$vc»::varchar"}},
	}
	runs := ""
	for i, s := range symbols {
		f := "v" + name + string(rune('a'+i))
		k.ddl += plantedFunction(f, "varchar, varchar", "bool", "true", "immutable") + "create operator " + s + " (function = " + f + ", leftarg = varchar, rightarg = varchar);\n"
		runs += f + ","
	}
	k.plants = []plant{reach("vc", "«@tv».v", runs, 0), reach("vc", "'a'::varchar", runs, 0), reach("vc", "(«text»)::varchar", runs, 0)}
	for _, s := range symbols {
		k.plants = append(k.plants,
			reach("bool", "«@tv».v "+s+" «@tv».w", runs, byBoth),
			reach("bool", "«@tv».v "+s+" any (array['a'::varchar, «@tv».v])", runs, byBoth))
	}
	more := map[string][]string{
		"equal": {
			"«@tv».v in («@tv».w, 'x'::varchar)", "«@tv».v not in (select v from tv)", "nullif(«@tv».v, «@tv».w) is null", "«@tv».v is distinct from «@tv».w",
			"case «@tv».v when «@tv».w then true else false end", "exists (select from tv a join tv b using (v))", "exists (select from tv a natural join (select v from tv) b)",
			"not («@tv».v in (select w from tv))",
		},
		"order": {"«@tv».v between 'a'::varchar and «@tv».w", "«@tv».v not between symmetric «@tv».v and «@tv».w", "«@tv».v > all (select v from tv)"},
		"like": {
			"«@tv».v like «@tv».w", "«@tv».v not like «@tv».w", "«@tv».v ilike «@tv».w", "«@tv».v not ilike «@tv».w", "«@tv».v like any (array[«@tv».w])",
			"«@tv».v similar to 'a'",
		},
	}
	for _, text := range more[name] {
		sees := byBoth
		if text == "«@tv».v similar to 'a'" { // its pattern is a text
			continue
		}
		k.plants = append(k.plants, reach("bool", text, runs, sees))
	}
	return k
}
