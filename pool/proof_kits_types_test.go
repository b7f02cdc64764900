package pool_test

// typeKits are functions behind domains, casts, operators and operator classes of types of the user's own.
var typeKits = []kit{
	{
		name: "domains",
		ddl: plantedFunction("chk", "int", "bool", "true", "immutable") +
			plantedFunction("chkt", "text", "bool", "true", "stable") +
			plantedFunction("chkp", "pair", "bool", "true", "stable") + `
			create domain dom as int check (chk(value));
			create domain dom2 as dom;
			create domain domarr as int[] check (chk(value[1]));
			create domain domof as dom[];
			create domain domt as text check (chkt(value));
			create domain domp as pair check (chkp(value));
			create type withdom as (wd dom, w int);
			create type wider as (ww withdom, wa withdom[]);
			create type domrange as range (subtype = dom);
			create table td (did int, d dom, d2 dom2, da domarr, ds dom[], dt domt, w withdom, dp domp);
			insert into td values (1, 1, 2, '{1}', '{1}', 'a', '(1,2)', '(1,2)'), (2, 2, 3, null, null, 'b', null, null);`,
		types: map[string][]string{
			"dom": {"«@td».d", "«@td».d", "«@td».d2", "dom '5'", "'7'::dom", "«$dom»::dom"},
		},
		plants: []plant{
			reach("int", "(«int»)::«~dom»", "chk", byRun),
			reach("int", "cast(«int» as «~dom»)", "chk", byRun),
			reach("int", "«~.dom»(«int»)", "chk", byRun),
			reach("int", "(«int»).«~.dom»", "chk", byRun),
			reach("int", "dom '5'", "chk", byRun),
			reach("int", "«~dom» '5'", "chk", byRun),
			reach("int", "«$dom»::dom", "chk", byRun),
			reach("int", "'5'::dom2", "chk", byRun),
			reach("int", "(«int»)::dom2", "chk", byRun),
			reach("text", "«~domt» 'x'", "chkt", byRun),
			reach("text", "(«int»)::domt", "chkt", byRun),
			reach("text", "(«text»)::domt", "chkt", byRun),
			reach("arr", "(«arr»)::domarr", "chk", byRun),
			reach("arr", "'{5}'::domarr", "chk", byRun),
			reach("int", "((array[«int»])::dom[])[1]", "chk", byRun),
			reach("int", "('{5}'::dom[])[1]", "chk", byRun),
			reach("int", "('{5}'::domof)[1]", "chk", byRun),
			reach("pair", "'(1,2)'::domp", "chkp", byRun),
			reach("pair", "row(«int», 2)::domp", "chkp", byRun),
			reach("int", "('(5,6)'::withdom).w", "chk", byRun),
			reach("dom", "(row(«int», 2)::withdom).wd", "chk", byRun),
			reach("int", `('("(5,6)",{})'::wider).ww.w`, "chk", byRun),
			reach("int", "('{\"(5,6)\"}'::withdom[])[1].w", "chk", byRun),
			reach("int", "lower('[1,5)'::domrange)", "chk", byRun),
			reach("int", "(json_populate_record(null::td, '{\"d\": 5}')).did", "chk", byRun),
			reach("int", "(jsonb_populate_record(null::td, '{\"did\": 1, \"w\": {\"wd\": 5}}')).did", "chk", byRun),
			reach("int", "(jsonb_populate_record(null::withdom, «json»)).w", "chk", byRun),
			reach("int", "(select count(d) from json_populate_recordset(null::td, '[{\"d\": 5}]'))::int", "chk", byRun),
			reach("int", "(select w from jsonb_populate_record(row(1, 2)::withdom, '{\"w\": 5}'))", "chk", byRun),
			reach("int", "(select a from jsonb_to_record('{\"a\": 5}') as x(a dom))", "chk", byRun),
			reach("int", "(select a[1] from json_to_record('{\"a\": [5]}') as x(a dom[]))", "chk", byRun),
			reach("int", "(select a from jsonb_to_recordset('[{\"a\": 5}]') as x(a dom2))", "chk", byRun),
			reach("int", "('(1,5,6,\"{1}\",\"{1}\",a,,)'::td).did", "chk", byRun),
			reach("int", "(select d from (values (1, null), (2, '5'::dom)) v(x, d) where x = 2)", "chk", byRun),
			reach("int", "(select x from json_table('{\"a\":5}', '$' columns (x dom path '$.a')) j)", "chk", byRun).from(17),
			reach("int", "json_value('{\"a\":5}', '$.a' returning dom)", "chk", byRun).from(17),
			reach("int", "(json_query('{\"wd\":5}', '$' returning withdom)).w", "chk", byRun).from(17),
			reach("int", "coalesce((select null::dom), '7')", "chk", byRun),
			reach("int", "(array_append(«@td».ds, '9'))[1]", "chk", byRun),
			reach("int", "(array_fill('9'::dom, array[2]))[1]", "chk", byRun),
			reach("int", "(coalesce(«@td».w, '(9,9)')).w", "chk", byRun),
			reach("int", "((select lag(td.w, 1, '(9,9)') over () from td limit 1)).w", "chk", byRun),
		},
	},
	{
		name: "casts",
		ddl: `create type ctyp as (ca int, cb text);
			create type cenum as enum ('ca', 'cb');
			create type cjson as enum ('ja', 'jb');
			create type cto as (ta int);
			create table tcast (kid int, k ctyp, ke cenum, kj cjson, ks ctyp[]);
			insert into tcast values (1, '(1,a)', 'ca', 'ja', '{"(1,a)"}'), (2, '(2,b)', 'cb', 'jb', '{}');` +
			plantedFunction("c2i", "ctyp", "int", "1", "immutable") +
			plantedFunction("c2t", "cenum", "text", "'a'", "stable") +
			plantedFunction("e2i", "cenum", "int", "1", "volatile") +
			plantedFunction("j2j", "cjson", "json", "'{}'::json", "stable") +
			plantedFunction("i2t", "int, int, bool", "cto", "row(1)::cto", "stable") +
			plantedFunction("r2t", "tcast", "int", "1", "stable") + `
			create cast (ctyp as int) with function c2i(ctyp) as implicit;
			create cast (cenum as int) with function e2i(cenum) as implicit;
			create cast (cenum as text) with function c2t(cenum) as assignment;
			create cast (cjson as json) with function j2j(cjson);
			create cast (int as cto) with function i2t(int, int, bool) as assignment;
			create cast (tcast as int) with function r2t(tcast) as implicit;`,
		types: map[string][]string{
			"ctyp":  {"«@tcast».k", "«@tcast».k", "'(1,a)'::ctyp", "row(1, 'x')::ctyp"},
			"cenum": {"«@tcast».ke", "«@tcast».ke", "'ca'::cenum"},
		},
		plants: []plant{
			reach("int", "«@tcast».k + 1", "c2i", byBoth),
			reach("int", "«@tcast».k::int", "c2i", byBoth),
			reach("int", "cast(«@tcast».k as int)", "c2i", byBoth),
			reach("int", "abs(«@tcast».k)", "c2i", byBoth),
			reach("bool", "«@tcast».k = 1", "c2i", byBoth),
			reach("bool", "«@tcast».k in (1, 2)", "c2i", byBoth),
			reach("bool", "«@tcast».k in («qint»)", "c2i", byBoth),
			reach("bool", "«@tcast».k between 1 and 3", "c2i", byBoth),
			reach("bool", "«@tcast».k = any («arr»)", "c2i", byBoth),
			reach("int", "(«@tcast».ks::int[])[1]", "c2i", byBoth),
			reach("int", "(row(«@tcast».k, 1)::pair).px", "c2i", byBoth),
			reach("int", "«@tcast».ke + 1", "e2i", byBoth),
			reach("bool", "«@tcast».ke = 1", "e2i", byBoth),
			reach("bool", "«@tcast».ke is not distinct from 1", "e2i", byBoth),
			reach("text", "«@tcast».ke::text", "c2t", byBoth),
			reach("text", "cast(«@tcast».ke as text)", "c2t", byBoth),
			reach("text", "(array[«@tcast».ke]::text[])[1]", "c2t", byBoth),
			reach("text", "to_json(«@tcast».kj)::text", "j2j", byRun),
			reach("text", "to_jsonb(«@tcast».kj)::text", "j2j", byRun),
			reach("text", "json_build_array(1, «@tcast».kj)::text", "j2j", byRun),
			reach("text", "jsonb_build_object('a', array[«@tcast».kj])::text", "j2j", byRun),
			reach("text", "row_to_json(row(1, «@tcast».kj))::text", "j2j", byRun),
			reach("text", "row_to_json(«@tcast»)::text", "j2j", byRun),
			reach("text", "array_to_json(array[«@tcast».kj])::text", "j2j", byRun),
			reach("text", "(select json_agg(kj) from tcast)::text", "j2j", byRun),
			reach("text", "(select jsonb_agg(tcast) from tcast)::text", "j2j", byRun),
			reach("text", "(select json_object_agg(kid, kj) from tcast)::text", "j2j", byRun),
			reach("text", "(select jsonb_object_agg(kid, kj) from tcast)::text", "j2j", byRun),
			reach("text", "json_array(«@tcast».kj)::text", "j2j", byRun).from(16),
			reach("text", "json_object('a': «@tcast».kj)::text", "j2j", byRun).from(16),
			reach("text", "(«@tcast».kj::json)::text", "j2j", byBoth),
			reach("int", "((«int»)::cto).ta", "i2t", byBoth),
			reach("int", "(cast(«int» as cto)).ta", "i2t", byBoth),
			reach("int", "(array[«int»]::cto[])[1].ta", "i2t", byBoth),
			reach("int", "«@tcast» + 1", "r2t", byBoth),
			reach("int", "«@tcast»::int", "r2t", byBoth),
			reach("bool", "«@tcast» = 1", "r2t", byBoth),
		},
	},
	{
		name: "operators",
		ddl: `create type oty as (oa int);
			create table tod (oid1 int, o oty, o2 oty);
			insert into tod values (1, '(1)', '(1)'), (2, '(2)', '(3)');` +
			plantedFunction("oplus", "int, int", "int", "1", "immutable") +
			plantedFunction("opre", "text", "text", "'a'", "stable") +
			plantedFunction("oeq", "oty, oty", "bool", "true", "immutable") +
			plantedFunction("oarr", "anyarray, anyelement", "bool", "true", "stable") + `
			create operator <+> (function = oplus, leftarg = int, rightarg = int);
			create operator @@@ (function = opre, rightarg = text);
			create operator <%%> (function = oarr, leftarg = anyarray, rightarg = anyelement);
			create operator <==> (function = oeq, leftarg = oty, rightarg = oty, commutator = <==>);`,
		plants: []plant{
			reach("int", "«int» <+> «int»", "oplus", byBoth),
			reach("int", "«int» operator(public.<+>) «int»", "oplus", byBoth),
			reach("int", `«int» operator("public" . <+>) «int»`, "oplus", byBoth),
			reach("int", "«int»<+>«int»", "oplus", byBoth),
			reach("text", "@@@ «text»", "opre", byBoth),
			reach("text", "@@@(«text»)", "opre", byBoth),
			reach("bool", "«@tod».o <==> «@tod».o2", "oeq", byBoth),
			reach("bool", "«@tod».o <==> any (array[«@tod».o2])", "oeq", byBoth),
			reach("bool", "«@tod».o <==> any (select o from tod)", "oeq", byBoth),
			reach("bool", "array[«int»] <%%> «int»", "oarr", byBoth),
		},
	},
	{
		name: "opclasses", apart: true,
		ddl: `create type own as (oa int);
			create table town (wid int, w own, ws own[]);
			insert into town values (1, '(1)', '{"(1)"}'), (2, '(2)', '{"(2)","(3)"}'), (3, '(3)', '{}');` +
			plantedFunction("ocmp", "own, own", "int", "($1.oa > $2.oa)::int - ($1.oa < $2.oa)::int", "immutable") +
			plantedFunction("olt", "own, own", "bool", "$1.oa < $2.oa", "immutable") +
			plantedFunction("ole", "own, own", "bool", "$1.oa <= $2.oa", "immutable") +
			plantedFunction("oeqq", "own, own", "bool", "$1.oa = $2.oa", "immutable") +
			plantedFunction("one", "own, own", "bool", "$1.oa <> $2.oa", "immutable") +
			plantedFunction("oge", "own, own", "bool", "$1.oa >= $2.oa", "immutable") +
			plantedFunction("ogt", "own, own", "bool", "$1.oa > $2.oa", "immutable") +
			plantedFunction("ohash", "own", "int", "$1.oa", "immutable") +
			plantedFunction("oinr", "own, own, int, bool, bool", "bool", "true", "immutable") +
			plantedFunction("odiff", "own, own", "float8", "1", "immutable") + `
			create operator < (function = olt, leftarg = own, rightarg = own, commutator = >, negator = >=);
			create operator <= (function = ole, leftarg = own, rightarg = own, commutator = >=, negator = >);
			create operator = (function = oeqq, leftarg = own, rightarg = own, commutator = =, negator = <>, hashes, merges);
			create operator <> (function = one, leftarg = own, rightarg = own, commutator = <>, negator = =);
			create operator >= (function = oge, leftarg = own, rightarg = own, commutator = <=, negator = <);
			create operator > (function = ogt, leftarg = own, rightarg = own, commutator = <, negator = <=);
			create operator class own_ops default for type own using btree as operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >,
				function 1 ocmp(own, own), function 3 (own, int) oinr(own, own, int, bool, bool);
			create operator class own_hash default for type own using hash as operator 1 =, function 1 ohash(own);
			create type ownrange as range (subtype = own, subtype_opclass = own_ops, subtype_diff = odiff);
			create domain owndom as own;
			create type inner_own as (io own, ii int);
			create index on town (w);`,
		types: map[string][]string{
			"own":      {"«@town».w", "«@town».w", "row(1)::own", "'(2)'::own"},
			"ownarr":   {"«@town».ws", "«@town».ws", "array['(2)'::own]"},
			"ownrange": {"ownrange(«@town».w, null)", "ownrange(«@town».w, row(9)::own)", `'["(1)","(2)"]'::ownrange`},
			"owndom":   {"«@town».w::owndom", "'(2)'::owndom"},
			"ownin":    {"row(«@town».w, 1)::inner_own", `'("(2)",1)'::inner_own`},
			"ownrow":   {"«@town»", "(«@town».*)"},
			"ownmulti": {"ownmultirange(ownrange(«@town».w, null))"},
		},
		plants: []plant{
			reach("own", "«@town».w", "ocmp,olt,ole,oeqq,one,oge,ogt,ohash", 0),
			reach("owndom", "«@town».w::owndom", "ocmp,olt,ole,oeqq,one,oge,ogt,ohash", 0),
			reach("ownarr", "«@town».ws", "ocmp,oeqq,ohash", 0),
			reach("ownrow", "«@town»", "ocmp,oeqq,ohash", 0),
			reach("ownin", "row(«@town».w, 1)::inner_own", "ocmp,oeqq,ohash", 0),
			reach("ownrange", "ownrange(«@town».w, null)", "ocmp,ohash", 0),
			reach("ownmulti", "ownmultirange(ownrange(«@town».w, null))", "ocmp,ohash", 0),
			reach("bool", "«@town».w = row(2)::own", "oeqq,ocmp", byBoth),
			reach("bool", "«@town».w < any («@town».ws)", "olt", byBoth),
			reach("bool", "«@town» = «@town»", "ocmp,oeqq", byRun),
			reach("bool", `'["(1)","(2)"]'::ownrange @> «@town».w`, "ocmp", byRun),
			reach("text", `lower('["(1)","(2)"]'::ownrange)::text`, "ocmp", byRun),
			reach("text", `('["(1)","(2)"]'::ownrange)::text`, "ocmp", byRun),
			reach("text", "ownrange(«@town».w, «@town».w)::text", "ocmp", byRun),
			reach("text", "(select range_agg(ownrange(w, null)) from town)::text", "ocmp", byRun),
			reach("int", "array_position(«@town».ws, «@town».w)", "oeqq", byRun),
			reach("text", "(select array_agg(distinct w) from town)::text", "ocmp,olt", byBoth),
			reach("int", "(select count(*) over (order by w range between 1 preceding and 1 following) from town limit 1)::int", "oinr", byBoth),
			reach("text", "(select percentile_disc(0.5) within group (order by w) from town)::text", "ocmp,olt", byBoth),
			reach("text", "array_sort(«@town».ws)::text", "ocmp,olt", byRun).from(18),
			reach("text", "(select max(row(w)) from town)::text", "ocmp", byRun).from(18),
			reach("text", "(select max(ws) from town)::text", "ocmp", byRun),
		},
	},
}
