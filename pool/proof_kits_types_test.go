package pool_test

// typeKits are functions behind domains, casts, operators and operator classes of types of the user's own.
var typeKits = []kit{
	{
		name: "domains",
		ddl: function("chk", "int", "bool", "true", "immutable") +
			function("chkt", "text", "bool", "true", "stable") +
			function("chkp", "pair", "bool", "true", "stable") + `
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
			p("int", "(«int»)::«~dom»", "chk", byRun),
			p("int", "cast(«int» as «~dom»)", "chk", byRun),
			p("int", "«~.dom»(«int»)", "chk", byRun),
			p("int", "(«int»).«~.dom»", "chk", byRun),
			p("int", "dom '5'", "chk", byRun),
			p("int", "«~dom» '5'", "chk", byRun),
			p("int", "«$dom»::dom", "chk", byRun),
			p("int", "'5'::dom2", "chk", byRun),
			p("int", "(«int»)::dom2", "chk", byRun),
			p("text", "«~domt» 'x'", "chkt", byRun),
			p("text", "(«int»)::domt", "chkt", byRun),
			p("text", "(«text»)::domt", "chkt", byRun),
			p("arr", "(«arr»)::domarr", "chk", byRun),
			p("arr", "'{5}'::domarr", "chk", byRun),
			p("int", "((array[«int»])::dom[])[1]", "chk", byRun),
			p("int", "('{5}'::dom[])[1]", "chk", byRun),
			p("int", "('{5}'::domof)[1]", "chk", byRun),
			p("pair", "'(1,2)'::domp", "chkp", byRun),
			p("pair", "row(«int», 2)::domp", "chkp", byRun),
			p("int", "('(5,6)'::withdom).w", "chk", byRun),
			p("dom", "(row(«int», 2)::withdom).wd", "chk", byRun),
			p("int", `('("(5,6)",{})'::wider).ww.w`, "chk", byRun),
			p("int", "('{\"(5,6)\"}'::withdom[])[1].w", "chk", byRun),
			p("int", "lower('[1,5)'::domrange)", "chk", byRun),
			p("int", "(json_populate_record(null::td, '{\"d\": 5}')).did", "chk", byRun),
			p("int", "(jsonb_populate_record(null::td, '{\"did\": 1, \"w\": {\"wd\": 5}}')).did", "chk", byRun),
			p("int", "(jsonb_populate_record(null::withdom, «json»)).w", "chk", byRun),
			p("int", "(select count(d) from json_populate_recordset(null::td, '[{\"d\": 5}]'))::int", "chk", byRun),
			p("int", "(select w from jsonb_populate_record(row(1, 2)::withdom, '{\"w\": 5}'))", "chk", byRun),
			p("int", "(select a from jsonb_to_record('{\"a\": 5}') as x(a dom))", "chk", byRun),
			p("int", "(select a[1] from json_to_record('{\"a\": [5]}') as x(a dom[]))", "chk", byRun),
			p("int", "(select a from jsonb_to_recordset('[{\"a\": 5}]') as x(a dom2))", "chk", byRun),
			p("int", "('(1,5,6,\"{1}\",\"{1}\",a,,)'::td).did", "chk", byRun),
			p("int", "(select d from (values (1, null), (2, '5'::dom)) v(x, d) where x = 2)", "chk", byRun),
			p("int", "(select x from json_table('{\"a\":5}', '$' columns (x dom path '$.a')) j)", "chk", byRun).from(17),
			p("int", "json_value('{\"a\":5}', '$.a' returning dom)", "chk", byRun).from(17),
			p("int", "(json_query('{\"wd\":5}', '$' returning withdom)).w", "chk", byRun).from(17),
			p("int", "coalesce((select null::dom), '7')", "chk", byRun),
			p("int", "(array_append(«@td».ds, '9'))[1]", "chk", byRun),
			p("int", "(array_fill('9'::dom, array[2]))[1]", "chk", byRun),
			p("int", "(coalesce(«@td».w, '(9,9)')).w", "chk", byRun),
			p("int", "((select lag(td.w, 1, '(9,9)') over () from td limit 1)).w", "chk", byRun),
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
			function("c2i", "ctyp", "int", "1", "immutable") +
			function("c2t", "cenum", "text", "'a'", "stable") +
			function("e2i", "cenum", "int", "1", "volatile") +
			function("j2j", "cjson", "json", "'{}'::json", "stable") +
			function("i2t", "int, int, bool", "cto", "row(1)::cto", "stable") +
			function("r2t", "tcast", "int", "1", "stable") + `
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
			p("int", "«@tcast».k + 1", "c2i", byBoth),
			p("int", "«@tcast».k::int", "c2i", byBoth),
			p("int", "cast(«@tcast».k as int)", "c2i", byBoth),
			p("int", "abs(«@tcast».k)", "c2i", byBoth),
			p("bool", "«@tcast».k = 1", "c2i", byBoth),
			p("bool", "«@tcast».k in (1, 2)", "c2i", byBoth),
			p("bool", "«@tcast».k in («qint»)", "c2i", byBoth),
			p("bool", "«@tcast».k between 1 and 3", "c2i", byBoth),
			p("bool", "«@tcast».k = any («arr»)", "c2i", byBoth),
			p("int", "(«@tcast».ks::int[])[1]", "c2i", byBoth),
			p("int", "(row(«@tcast».k, 1)::pair).px", "c2i", byBoth),
			p("int", "«@tcast».ke + 1", "e2i", byBoth),
			p("bool", "«@tcast».ke = 1", "e2i", byBoth),
			p("bool", "«@tcast».ke is not distinct from 1", "e2i", byBoth),
			p("text", "«@tcast».ke::text", "c2t", byBoth),
			p("text", "cast(«@tcast».ke as text)", "c2t", byBoth),
			p("text", "(array[«@tcast».ke]::text[])[1]", "c2t", byBoth),
			p("text", "to_json(«@tcast».kj)::text", "j2j", byRun),
			p("text", "to_jsonb(«@tcast».kj)::text", "j2j", byRun),
			p("text", "json_build_array(1, «@tcast».kj)::text", "j2j", byRun),
			p("text", "jsonb_build_object('a', array[«@tcast».kj])::text", "j2j", byRun),
			p("text", "row_to_json(row(1, «@tcast».kj))::text", "j2j", byRun),
			p("text", "row_to_json(«@tcast»)::text", "j2j", byRun),
			p("text", "array_to_json(array[«@tcast».kj])::text", "j2j", byRun),
			p("text", "(select json_agg(kj) from tcast)::text", "j2j", byRun),
			p("text", "(select jsonb_agg(tcast) from tcast)::text", "j2j", byRun),
			p("text", "(select json_object_agg(kid, kj) from tcast)::text", "j2j", byRun),
			p("text", "(select jsonb_object_agg(kid, kj) from tcast)::text", "j2j", byRun),
			p("text", "json_array(«@tcast».kj)::text", "j2j", byRun).from(16),
			p("text", "json_object('a': «@tcast».kj)::text", "j2j", byRun).from(16),
			p("text", "(«@tcast».kj::json)::text", "j2j", byBoth),
			p("int", "((«int»)::cto).ta", "i2t", byBoth),
			p("int", "(cast(«int» as cto)).ta", "i2t", byBoth),
			p("int", "(array[«int»]::cto[])[1].ta", "i2t", byBoth),
			p("int", "«@tcast» + 1", "r2t", byBoth),
			p("int", "«@tcast»::int", "r2t", byBoth),
			p("bool", "«@tcast» = 1", "r2t", byBoth),
		},
	},
	{
		name: "operators",
		ddl: `create type oty as (oa int);
			create table tod (oid1 int, o oty, o2 oty);
			insert into tod values (1, '(1)', '(1)'), (2, '(2)', '(3)');` +
			function("oplus", "int, int", "int", "1", "immutable") +
			function("opre", "text", "text", "'a'", "stable") +
			function("oeq", "oty, oty", "bool", "true", "immutable") +
			function("oarr", "anyarray, anyelement", "bool", "true", "stable") + `
			create operator <+> (function = oplus, leftarg = int, rightarg = int);
			create operator @@@ (function = opre, rightarg = text);
			create operator <%%> (function = oarr, leftarg = anyarray, rightarg = anyelement);
			create operator <==> (function = oeq, leftarg = oty, rightarg = oty, commutator = <==>);`,
		plants: []plant{
			p("int", "«int» <+> «int»", "oplus", byBoth),
			p("int", "«int» operator(public.<+>) «int»", "oplus", byBoth),
			p("int", `«int» operator("public" . <+>) «int»`, "oplus", byBoth),
			p("int", "«int»<+>«int»", "oplus", byBoth),
			p("text", "@@@ «text»", "opre", byBoth),
			p("text", "@@@(«text»)", "opre", byBoth),
			p("bool", "«@tod».o <==> «@tod».o2", "oeq", byBoth),
			p("bool", "«@tod».o <==> any (array[«@tod».o2])", "oeq", byBoth),
			p("bool", "«@tod».o <==> any (select o from tod)", "oeq", byBoth),
			p("bool", "array[«int»] <%%> «int»", "oarr", byBoth),
		},
	},
	{
		name: "opclasses", apart: true,
		ddl: `create type own as (oa int);
			create table town (wid int, w own, ws own[]);
			insert into town values (1, '(1)', '{"(1)"}'), (2, '(2)', '{"(2)","(3)"}'), (3, '(3)', '{}');` +
			function("ocmp", "own, own", "int", "($1.oa > $2.oa)::int - ($1.oa < $2.oa)::int", "immutable") +
			function("olt", "own, own", "bool", "$1.oa < $2.oa", "immutable") +
			function("ole", "own, own", "bool", "$1.oa <= $2.oa", "immutable") +
			function("oeqq", "own, own", "bool", "$1.oa = $2.oa", "immutable") +
			function("one", "own, own", "bool", "$1.oa <> $2.oa", "immutable") +
			function("oge", "own, own", "bool", "$1.oa >= $2.oa", "immutable") +
			function("ogt", "own, own", "bool", "$1.oa > $2.oa", "immutable") +
			function("ohash", "own", "int", "$1.oa", "immutable") +
			function("oinr", "own, own, int, bool, bool", "bool", "true", "immutable") +
			function("odiff", "own, own", "float8", "1", "immutable") + `
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
			p("own", "«@town».w", "ocmp,olt,ole,oeqq,one,oge,ogt,ohash", 0),
			p("owndom", "«@town».w::owndom", "ocmp,olt,ole,oeqq,one,oge,ogt,ohash", 0),
			p("ownarr", "«@town».ws", "ocmp,oeqq,ohash", 0),
			p("ownrow", "«@town»", "ocmp,oeqq,ohash", 0),
			p("ownin", "row(«@town».w, 1)::inner_own", "ocmp,oeqq,ohash", 0),
			p("ownrange", "ownrange(«@town».w, null)", "ocmp,ohash", 0),
			p("ownmulti", "ownmultirange(ownrange(«@town».w, null))", "ocmp,ohash", 0),
			p("bool", "«@town».w = row(2)::own", "oeqq,ocmp", byBoth),
			p("bool", "«@town».w < any («@town».ws)", "olt", byBoth),
			p("bool", "«@town» = «@town»", "ocmp,oeqq", byRun),
			p("bool", `'["(1)","(2)"]'::ownrange @> «@town».w`, "ocmp", byRun),
			p("text", `lower('["(1)","(2)"]'::ownrange)::text`, "ocmp", byRun),
			p("text", `('["(1)","(2)"]'::ownrange)::text`, "ocmp", byRun),
			p("text", "ownrange(«@town».w, «@town».w)::text", "ocmp", byRun),
			p("text", "(select range_agg(ownrange(w, null)) from town)::text", "ocmp", byRun),
			p("int", "array_position(«@town».ws, «@town».w)", "oeqq", byRun),
			p("text", "(select array_agg(distinct w) from town)::text", "ocmp,olt", byBoth),
			p("int", "(select count(*) over (order by w range between 1 preceding and 1 following) from town limit 1)::int", "oinr", byBoth),
			p("text", "(select percentile_disc(0.5) within group (order by w) from town)::text", "ocmp,olt", byBoth),
			p("text", "array_sort(«@town».ws)::text", "ocmp,olt", byRun).from(18),
			p("text", "(select max(row(w)) from town)::text", "ocmp", byRun).from(18),
			p("text", "(select max(ws) from town)::text", "ocmp", byRun),
		},
	},
}
