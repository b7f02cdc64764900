package facts

import (
	"fmt"
	"slices"
	"sync"
)

// These are the queries whose answers the facts are derived from. Functions, operators and types are written with the schema pg_catalog, so that the
// user's search_path cannot change what a query means. The long ones are put together when they are first needed, and not in each start of a process.
// The OIDs of languages are 12 for internal, 13 for C and 14 for SQL.

// given is true for a function p that is neither built-in, nor the constructor of a range type, nor a trusted function of an extension.
const given = `(p.oid operator(pg_catalog.>=) 16384::pg_catalog.oid
	and not (p.provolatile operator(pg_catalog.<>) 'v' and ` + ofExtension + `
		and (p.prolang operator(pg_catalog.=) any ('{12,13,14}'::pg_catalog.oid[]) or ` + setsPath + `) and ` + takesNoSQL + ` and ` + aggregatesOnly + `)
	and not (p.prosrc operator(pg_catalog.~) '^(multi)?range_constructor[0-9]$' and p.prolang operator(pg_catalog.=) 12::pg_catalog.oid))`

// own is true for a user's own function p: it is given, and is not a trigger function in PL/pgSQL, since no statement can call that.
const own = `(` + given + ` and not (p.prorettype operator(pg_catalog.=) any ('{pg_catalog.trigger,pg_catalog.event_trigger}'::pg_catalog.regtype[]::pg_catalog.oid[])
	and ` + inPLpgSQL + `))`

const (
	// setsPath is true for a function p with a search_path of its own.
	setsPath = `coalesce(pg_catalog.array_to_string(p.proconfig, ' ') operator(pg_catalog.~) '\msearch_path=', false)`
	// takesNoSQL is false for an extension's function p that runs SQL from an argument, or reads the relation that an argument names.
	takesNoSQL = `p.proname operator(pg_catalog.!~) '^(isn_weak$|crosstab|connectby|xpath_table|_?pgr_|st_findextent|st_estimatedextent|_?postgis_(stats|selectivity|join_selectivity|index_extent))'`
	// aggregatesOnly is false for an extension's aggregate p that calls a function in another language than C and SQL, or a volatile one in SQL. The
	// aggregate itself always counts as not volatile and internal.
	aggregatesOnly = `not exists (select from pg_catalog.pg_aggregate a join pg_catalog.pg_proc q on q.oid operator(pg_catalog.=) any (` + ofAggregate + `)
		where a.aggfnoid operator(pg_catalog.=) p.oid and q.prolang operator(pg_catalog.<>) all ('{12,13}'::pg_catalog.oid[])
		and (q.prolang operator(pg_catalog.<>) 14::pg_catalog.oid or q.provolatile operator(pg_catalog.=) 'v'))`
	ofAggregate = `array[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[]`
	ofExtension = `exists (select from pg_catalog.pg_depend x where x.classid operator(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
		and x.objid operator(pg_catalog.=) p.oid and x.deptype operator(pg_catalog.=) 'e')`
	inPLpgSQL = `p.prolang operator(pg_catalog.=) any (select l.oid from pg_catalog.pg_language l where l.lanname operator(pg_catalog.=) 'plpgsql')`
	// namesByPath is true for an extension's function p if the names in its body are looked up in the caller's search_path.
	namesByPath = `(p.prolang operator(pg_catalog.=) 14::pg_catalog.oid and p.prosqlbody is null and not ` + setsPath + `)`
)

// sets is true for a function p that may run other functions while it has changed a setting on which the meaning of texts depends: the plans that these
// make then keep that meaning. Its own search_path does no harm, since PostgreSQL plans again when search_path differs. A setting with a dot in its
// name does none either, since it is not PostgreSQL's own.
const sets = `((coalesce(pg_catalog.array_to_string(p.proconfig, ' '), '') operator(pg_catalog.||) ' ' operator(pg_catalog.||) coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc))
	operator(pg_catalog.~*) '\m(timezone|time\s+zone|datestyle|intervalstyle|extra_float_digits|lc_(monetary|numeric|time)|xmloption|xml\s+option|xmlbinary|array_nulls|default_text_search_config|quote_all_identifiers|transform_null_equals|bytea_output|timezone_abbreviations|backslash_quote|standard_conforming_strings|client_encoding|row_security|session_replication_role|restrict_nonsystem_relation_kind)\M|set_config(?!\s*\(\s*''\w+\.)')`

// ownedBody is the JSON that ownedBodyOf reads, for a given function p: b is its body, l whether that is in PL/pgSQL, d the defaults of its arguments,
// p the search_path that it sets, c what else it sets, o its owner if it runs as the owner. ownedBody is empty if the function is in another language or
// its body is too long. The functions named here are volatile, and known to leave nothing.
const ownedBody = `case when ` + ofExtension + ` and p.proname operator(pg_catalog.~) '^(uuid_generate_v(1|1mc|4)|gen_salt|gen_random_(bytes|uuid))$' then '{"b": ""}'
	when (p.prolang operator(pg_catalog.=) 14::pg_catalog.oid or ` + inPLpgSQL + `) and pg_catalog.length(p.prosrc) operator(pg_catalog.<=) 8192
	then pg_catalog.json_build_object('b', coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc), 'l', p.prolang operator(pg_catalog.<>) 14::pg_catalog.oid,
		'd', pg_catalog.pg_get_expr(p.proargdefaults, 0), 'p', (select pg_catalog.substr(c, 13) from unnest(p.proconfig) c where c operator(pg_catalog.~) '^search_path='),
		'c', (select pg_catalog.string_agg(c, ',') from unnest(p.proconfig) c where c operator(pg_catalog.!~) '^search_path='),
		'o', case when p.prosecdef and pg_catalog.pg_get_userbyid(p.proowner) operator(pg_catalog.<>) session_user then pg_catalog.pg_get_userbyid(p.proowner) end)::pg_catalog.text
	else '' end`

// catalogs lists the system catalogs whose rows are in signs. A catalog's place in the list tells its rows from those of the others, in sumOf.
var catalogs = []string{
	"pg_class", "pg_attribute", "pg_index", "pg_constraint", "pg_policy", "pg_rewrite", "pg_trigger", "pg_attrdef", "pg_inherits", "pg_statistic_ext",
	"pg_type", "pg_proc", "pg_operator", "pg_cast", "pg_amproc", "pg_amop", "pg_opclass", "pg_extension", "pg_range", "pg_namespace",
}

// sumOf returns SQL for the sum of the signs of those rows of a catalog for which where is true. The sign of a row is a hash of its key, the catalog and
// the transaction that wrote the row. VACUUM and ANALYZE do not change the sign, since they change rows of pg_class in place. The key is the hash's seed:
// a key that is mixed into the hashed number with # could cancel out, because one transaction writes several rows, and both its number and their OIDs
// are close to those of the transaction before.
func sumOf(key, catalog, where string) string {
	return fmt.Sprintf(`coalesce((select pg_catalog.sum(pg_catalog.hashint8extended(xmin::pg_catalog.text::pg_catalog.int8, %s::pg_catalog.int8 operator(pg_catalog.+) %d))
		from pg_catalog.%s where %s), 0)`, key, (1+slices.Index(catalogs, catalog))<<48, catalog, where)
}

// relationSign returns SQL for the sign of relations: a number for all catalog rows that describe them. typeSign and functionSign do so for types and
// functions. The argument is a condition on the column with the OID or name, such as "= n.o". The sign of several is the sum of their signs.
func relationSign(is string) string {
	return `(` + sumOf("oid", "pg_class", "oid "+is) +
		plus + sumOf(columnKey, "pg_attribute", "attrelid "+is+" and attnum operator(pg_catalog.>) 0") +
		plus + sumOf("indexrelid", "pg_index", "indrelid "+is) +
		plus + sumOf("oid", "pg_constraint", "conrelid "+is) +
		plus + sumOf("oid", "pg_policy", "polrelid "+is) +
		plus + sumOf("oid", "pg_rewrite", "ev_class "+is) +
		plus + sumOf("oid", "pg_trigger", "tgrelid "+is) +
		plus + sumOf("oid", "pg_attrdef", "adrelid "+is) +
		plus + sumOf("inhrelid", "pg_inherits", "inhparent "+is) +
		plus + sumOf("oid", "pg_statistic_ext", "stxrelid "+is) + `)`
}

// columnKey is SQL for the key of a row of pg_attribute. A relation has at most 1,600 columns.
const columnKey = `((attrelid::pg_catalog.int8 operator(pg_catalog.<<) 12) operator(pg_catalog.+) attnum)`

func typeSign(is string) string {
	return `(` + sumOf("oid", "pg_type", "oid "+is) + plus + sumOf("oid", "pg_constraint", "conrelid operator(pg_catalog.=) 0::pg_catalog.oid and contypid "+is) + `)`
}

func functionSign(is string) string { return sumOf("oid", "pg_proc", "proname "+is) }

// isNode is the argument of relationSign and typeSign for the relation or type n.o.
const isNode = "operator(pg_catalog.=) n.o"

var globalSign = sync.OnceValue(func() string {
	return `(` + sumOf("oid", "pg_operator", userMade) + plus + sumOf("oid", "pg_cast", userMade) +
		plus + sumOf("oid", "pg_amproc", userMade) + plus + sumOf("oid", "pg_amop", userMade) +
		plus + sumOf("oid", "pg_opclass", userMade) + plus + sumOf("oid", "pg_extension", "true") +
		plus + sumOf("oid", "pg_proc", behind) +
		plus + sumOf("rngtypid", "pg_range", "rngtypid operator(pg_catalog.>=) 16384::pg_catalog.oid") +
		plus + sumOf("oid", "pg_namespace", userMade+` and nspname operator(pg_catalog.!~) '^pg_(toast_)?temp_'`) + `)`
})

// behind is true for the functions that run without their names being in a text: those of the user's operators, casts, operator classes, aggregates.
const behind = userMade + ` and oid operator(pg_catalog.=) any (array(
	select o.oprcode::pg_catalog.oid from pg_catalog.pg_operator o where o.oid operator(pg_catalog.>=) 16384::pg_catalog.oid
	union all select c.castfunc from pg_catalog.pg_cast c where c.oid operator(pg_catalog.>=) 16384::pg_catalog.oid
	union all select f.amproc from pg_catalog.pg_amproc f where f.oid operator(pg_catalog.>=) 16384::pg_catalog.oid
	union all select unnest(` + ofAggregate + `) from pg_catalog.pg_aggregate a where a.aggfnoid operator(pg_catalog.>=) 16384::pg_catalog.oid))`

const (
	plus = " operator(pg_catalog.+) "
	// relevant is false for built-in types, since askGlobal asks whether the user has given code to those.
	relevant = `(m.c operator(pg_catalog.<>) 't' or m.o operator(pg_catalog.>=) 16384::pg_catalog.oid)`
	userMade = "oid operator(pg_catalog.>=) 16384::pg_catalog.oid"
)

// These are SQL for the relation and the type that the name k.n in schema k.s stands for. If k.s is empty, search_path decides.
const (
	relationOf = `coalesce(case when k.s operator(pg_catalog.=) '' then pg_catalog.to_regclass(pg_catalog.quote_ident(k.n))::pg_catalog.oid
		else (select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace s on s.oid operator(pg_catalog.=) c.relnamespace
			where c.relname operator(pg_catalog.=) k.n::pg_catalog.name and s.nspname operator(pg_catalog.=) k.s::pg_catalog.name) end, 0::pg_catalog.oid)`
	typeOfName = `coalesce(case when k.s operator(pg_catalog.=) '' then pg_catalog.to_regtype(pg_catalog.quote_ident(k.n))::pg_catalog.oid
		else (select t.oid from pg_catalog.pg_type t join pg_catalog.pg_namespace s on s.oid operator(pg_catalog.=) t.typnamespace
			where t.typname operator(pg_catalog.=) k.n::pg_catalog.name and s.nspname operator(pg_catalog.=) k.s::pg_catalog.name) end, 0::pg_catalog.oid)`
	nameSign = `pg_catalog.hashtextextended(k.s operator(pg_catalog.||) '.' operator(pg_catalog.||) k.n, k.rel::pg_catalog.int8)
		operator(pg_catalog.#) pg_catalog.hashtextextended(k.n, k.typ::pg_catalog.int8)`
	keysOf = `(select k.s, k.n, ` + relationOf + `, ` + typeOfName + ` from unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) k(s, n)) k(s, n, rel, typ)`
)

// askFunctions asks what the function names $1 may mean. The columns are: the name; its sign; whether a function of that name is built-in; whether a
// built-in one can be called with one argument; whether one is an extension's trusted function; the schemas of the user's own functions; the schemas of
// those that can be called with one argument; the types of arguments and results of functions that are not built-in; the bodies of trusted functions
// that look names up in the caller's search_path; whether sets is true for one; and the ownedBody of each given function.
var askFunctions = sync.OnceValue(func() string {
	return `select n.n, ` + functionSign("operator(pg_catalog.=) n.n::pg_catalog.name") + `,
	coalesce(pg_catalog.bool_or(f.builtin), false), coalesce(pg_catalog.bool_or(f.builtin and f.one), false), coalesce(pg_catalog.bool_or(not f.builtin and not f.own), false),
	pg_catalog.array_to_json(pg_catalog.array_agg(distinct f.schema) filter (where f.own)),
	pg_catalog.array_to_json(pg_catalog.array_agg(distinct f.schema) filter (where f.own and f.one)),
	pg_catalog.array_to_json((select pg_catalog.array_agg(distinct t::pg_catalog.int8) from pg_catalog.pg_proc p cross join lateral unnest(
			coalesce(p.proallargtypes, p.proargtypes::pg_catalog.oid[]) operator(pg_catalog.||) p.prorettype) t
		where p.proname operator(pg_catalog.=) n.n::pg_catalog.name and p.oid operator(pg_catalog.>=) 16384::pg_catalog.oid
		and t operator(pg_catalog.>=) 16384::pg_catalog.oid)),
	pg_catalog.array_to_json(pg_catalog.array_agg(f.body) filter (where f.body is not null)),
	coalesce(pg_catalog.bool_or(f.sets), false),
	pg_catalog.array_to_json(pg_catalog.array_agg(f.owned) filter (where f.owned is not null))
from unnest($1::pg_catalog.text[]) n(n)
left join lateral (select s.nspname as schema, p.oid operator(pg_catalog.<) 16384::pg_catalog.oid as builtin, ` + own + ` as own,
		case when p.oid operator(pg_catalog.>=) 16384::pg_catalog.oid and not ` + own + ` and ` + namesByPath + ` then p.prosrc end as body,
		p.oid operator(pg_catalog.>=) 16384::pg_catalog.oid and ` + sets + ` as sets,
		case when ` + given + ` then ` + ownedBody + ` end as owned,
		p.pronargs operator(pg_catalog.>=) 1 and p.pronargs operator(pg_catalog.-) p.pronargdefaults operator(pg_catalog.<=) 1 as one
	from pg_catalog.pg_proc p join pg_catalog.pg_namespace s on s.oid operator(pg_catalog.=) p.pronamespace
	where p.proname operator(pg_catalog.=) n.n::pg_catalog.name) f on true
group by n.n`
})

// askGlobal asks what concerns every statement. The kinds of rows are: s, the sign of all this; o, a user's own operator, with the schema and name of
// its function or of a function to which it leads; t, a type to which the user has given code, by a cast, an operator class or family, or a range's
// functions; f, an operator family to which the user has given code. An operator leads to functions by its negator or commutator, by a cast to an
// argument's type, and by its family, unless it is in a built-in family too: the planner takes that, since its OID is smaller. Only a superuser can
// give code to a built-in type. Then even 1 + 1 may run that code.
var askGlobal = sync.OnceValue(func() string {
	return `with own as materialized (select p.oid from pg_catalog.pg_proc p where ` + own + `),
amproc as materialized (select a.* from pg_catalog.pg_amproc a join own on own.oid operator(pg_catalog.=) a.amproc),
amop as materialized (select a.* from pg_catalog.pg_amop a join pg_catalog.pg_operator o on o.oid operator(pg_catalog.=) a.amopopr join own on own.oid operator(pg_catalog.=) o.oprcode),
found as (select f from (select amprocfamily from amproc union select amopfamily from amop) _(f) where f operator(pg_catalog.<) 16384::pg_catalog.oid
	or exists (select from pg_catalog.pg_opclass o where o.opcfamily operator(pg_catalog.=) f and o.opcdefault)),
casts as (select c.* from pg_catalog.pg_cast c left join own on own.oid operator(pg_catalog.=) c.castfunc
	where own.oid is not null or c.oid operator(pg_catalog.>=) 16384::pg_catalog.oid and exists (select from pg_catalog.pg_proc p
		where p.oid operator(pg_catalog.=) c.castfunc and p.provolatile operator(pg_catalog.=) 'v')),
beside as (select o.oprname, x.oprcode as code from pg_catalog.pg_operator o
		join pg_catalog.pg_operator x on x.oid operator(pg_catalog.=) any (array[o.oprnegate, o.oprcom]) join own on own.oid operator(pg_catalog.=) x.oprcode::pg_catalog.oid
	union select o.oprname, f.code from (select amprocfamily, amproc::pg_catalog.oid from amproc union select amopfamily, o.oprcode from amop
			join pg_catalog.pg_operator o on o.oid operator(pg_catalog.=) amop.amopopr) f(family, code)
		join pg_catalog.pg_amop a on a.amopfamily operator(pg_catalog.=) f.family join pg_catalog.pg_operator o on o.oid operator(pg_catalog.=) a.amopopr
		where not exists (select from pg_catalog.pg_amop b where b.amopopr operator(pg_catalog.=) o.oid and b.amopfamily operator(pg_catalog.<) 16384::pg_catalog.oid)
	union select o.oprname, c.castfunc from casts c join pg_catalog.pg_operator o on o.oid operator(pg_catalog.>=) 16384::pg_catalog.oid
		and (o.oprleft operator(pg_catalog.=) any (array[c.castsource, c.casttarget]) or o.oprright operator(pg_catalog.=) any (array[c.castsource, c.casttarget])))
select 's', ` + globalSign() + `::pg_catalog.text, ''::pg_catalog.text, ''::pg_catalog.text
union all select 'o', o.oprname, s.nspname, p.proname from pg_catalog.pg_operator o
	join pg_catalog.pg_proc p on p.oid operator(pg_catalog.=) o.oprcode
	join pg_catalog.pg_namespace s on s.oid operator(pg_catalog.=) p.pronamespace
	left join own on own.oid operator(pg_catalog.=) p.oid
	where o.oid operator(pg_catalog.>=) 16384::pg_catalog.oid and (p.oid operator(pg_catalog.<) 16384::pg_catalog.oid or own.oid is not null)
union all select 'o', b.oprname, s.nspname, p.proname from beside b join pg_catalog.pg_proc p on p.oid operator(pg_catalog.=) b.code
	join pg_catalog.pg_namespace s on s.oid operator(pg_catalog.=) p.pronamespace
union all select 't', t::pg_catalog.text, '', '' from (
	select case when a operator(pg_catalog.>=) 16384::pg_catalog.oid then a else b end from (select castsource, casttarget from casts
			union select amproclefttype, amprocrighttype from amproc where amprocfamily operator(pg_catalog.=) any (select f from found)
			union select amoplefttype, amoprighttype from amop where amopfamily operator(pg_catalog.=) any (select f from found)) p(l, r)
		cross join lateral (values (l, r), (r, l)) _(a, b)
	union select t from pg_catalog.pg_range r cross join lateral (values (r.rngtypid), (r.rngmultitypid)) _(t)
		where exists (select from own where own.oid operator(pg_catalog.=) any (array[r.rngcanonical::pg_catalog.oid, r.rngsubdiff::pg_catalog.oid]))) _(t)
union all select 'f', f::pg_catalog.text, '', '' from (select amprocfamily from amproc union select amopfamily from amop) _(f)`
})

const (
	ofRelation = ` where n.c operator(pg_catalog.<>) 't' and n.o operator(pg_catalog.=) `
	ofType     = ` where n.c operator(pg_catalog.=) 't' and n.o operator(pg_catalog.=) `
)

// attached is SQL for the objects of the node n that have expressions: the class, the OID, and the expression's text. A plan or a write may run it.
const attached = `(
	select 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid, w.oid, pg_catalog.pg_get_viewdef(w.ev_class) from pg_catalog.pg_rewrite w
		join pg_catalog.pg_class v on v.oid operator(pg_catalog.=) w.ev_class and v.relkind operator(pg_catalog.=) 'v'
		` + ofRelation + `w.ev_class and w.ev_type operator(pg_catalog.=) '1'
	union all select 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid, 'select ' operator(pg_catalog.||) pg_catalog.pg_get_expr(e, p.polrelid) from pg_catalog.pg_policy p
		cross join lateral (values (p.polqual), (p.polwithcheck)) _(e)` + ofRelation + `p.polrelid and (n.c operator(pg_catalog.<>) 'r' or p.polcmd operator(pg_catalog.=) any ('{r,*}'::pg_catalog."char"[]))
	union all select 'pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid, 'select ' operator(pg_catalog.||) pg_catalog.pg_get_expr(c.conbin, c.conrelid) from pg_catalog.pg_constraint c` + ofRelation + `c.conrelid
	union all select 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid, 'select ' operator(pg_catalog.||) pg_catalog.pg_get_expr(e, i.indrelid) from pg_catalog.pg_index i
		cross join lateral (values (i.indexprs), (i.indpred)) _(e) ` + ofRelation + `i.indrelid
	union all select 'pg_catalog.pg_class'::pg_catalog.regclass, p.partrelid, 'select ' operator(pg_catalog.||) pg_catalog.pg_get_expr(p.partexprs, p.partrelid) from pg_catalog.pg_partition_ancestors(n.o::pg_catalog.regclass) x
		join pg_catalog.pg_partitioned_table p on p.partrelid operator(pg_catalog.=) x.relid::pg_catalog.oid where n.c operator(pg_catalog.<>) 't'
	union all select 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid, 'select ' operator(pg_catalog.||) pg_catalog.pg_get_expr(s.stxexprs, s.stxrelid) from pg_catalog.pg_statistic_ext s` + ofRelation + `s.stxrelid
	union all select 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid, 'select ' operator(pg_catalog.||) pg_catalog.pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d
		join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) d.adrelid and a.attnum operator(pg_catalog.=) d.adnum` + ofRelation + `d.adrelid and (n.c operator(pg_catalog.=) 'i' or a.attgenerated operator(pg_catalog.<>) '')
	union all select 'pg_catalog.pg_class'::pg_catalog.regclass, a.attrelid, 'select nextval(null)' from pg_catalog.pg_attribute a
		where n.c operator(pg_catalog.=) 'i' and a.attrelid operator(pg_catalog.=) n.o and a.attidentity operator(pg_catalog.<>) ''
	union all select 'pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid, 'select ' operator(pg_catalog.||) pg_catalog.pg_get_expr(c.conbin, 0) from pg_catalog.pg_constraint c` + ofType + `c.contypid
	union all select 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, 'select ' operator(pg_catalog.||) pg_catalog.pg_get_expr(t.typdefaultbin, 0) from pg_catalog.pg_type t` + ofType + `t.oid
) a(class, oid, expression)`

// next is SQL for the nodes to which n leads: the relations that its expressions read, its columns' types, its children, the types inside a type, and the
// tables that foreign keys change.
const next = `(
	select case when d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass then 't' when a.class operator(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass then n.c else 'r' end, d.refobjid
		from ` + attached + ` cross join lateral ` + dependsOn + `
		where d.refclassid operator(pg_catalog.=) any ('{pg_catalog.pg_class,pg_catalog.pg_type}'::pg_catalog.regclass[]::pg_catalog.oid[])
	union all select 't', a.atttypid from pg_catalog.pg_attribute a where n.c operator(pg_catalog.<>) 't' and a.attrelid operator(pg_catalog.=) n.o and a.attnum operator(pg_catalog.>) 0 and not a.attisdropped
	union all select n.c, i.inhrelid from pg_catalog.pg_inherits i where n.c operator(pg_catalog.<>) 't' and i.inhparent operator(pg_catalog.=) n.o
	union all select 'r', i.inhparent from pg_catalog.pg_inherits i where n.c operator(pg_catalog.=) any ('{w,i}') and i.inhrelid operator(pg_catalog.=) n.o
	union all select case when 'd' operator(pg_catalog.=) any (array[c.confdeltype, c.confupdtype]) then 'i'
			when array[c.confdeltype, c.confupdtype] operator(pg_catalog.&&) '{c,n}'::pg_catalog."char"[] then 'w' else 'r' end, c.conrelid from pg_catalog.pg_trigger t
		join pg_catalog.pg_constraint c on c.oid operator(pg_catalog.=) t.tgconstraint and c.contype operator(pg_catalog.=) 'f' and c.confrelid operator(pg_catalog.=) n.o
		where n.c operator(pg_catalog.=) any ('{w,i}') and t.tgrelid operator(pg_catalog.=) n.o
	union all select x.* from pg_catalog.pg_type t cross join lateral (values ('t', t.typelem), ('t', t.typbasetype), ('r', t.typrelid)) x` + ofType + `t.oid
	union all select 't', r.rngsubtype from pg_catalog.pg_range r where n.c operator(pg_catalog.=) 't' and (r.rngtypid operator(pg_catalog.=) n.o or r.rngmultitypid operator(pg_catalog.=) n.o)
	union all select 't', r.rngtypid from pg_catalog.pg_range r where n.c operator(pg_catalog.=) 't' and r.rngmultitypid operator(pg_catalog.=) n.o
) m(c, o)`

// dependsOn is SQL for the objects on which a depends. OFFSET 0 makes the planner use the index for each row of a. Without it the planner, which does not
// know that a is small, may read all of pg_depend, which is large.
const dependsOn = `(select d.refclassid, d.refobjid from pg_catalog.pg_depend d
	where d.classid operator(pg_catalog.=) a.class and d.objid operator(pg_catalog.=) a.oid offset 0) d`

// badNode is SQL for the reason why nothing can be proven about a statement that uses the node. It is empty if there is no such reason.
const badNode = `coalesce((select case
		when c.relkind operator(pg_catalog.=) 'f' then 'foreign table' when c.relpersistence operator(pg_catalog.=) 't' then 'temporary table'
		when c.relam operator(pg_catalog.>=) 16384::pg_catalog.oid and c.relkind operator(pg_catalog.<>) 'i' then 'access method'
		when n.c operator(pg_catalog.<>) 'r' and exists (select from pg_catalog.pg_rewrite w where w.ev_class operator(pg_catalog.=) n.o and w.ev_type operator(pg_catalog.<>) '1') then 'rule' end
	from pg_catalog.pg_class c where n.c operator(pg_catalog.<>) 't' and c.oid operator(pg_catalog.=) n.o), '')`

// askNodes asks what the names $2 in the schemas $1 stand for and lead to. $3 says for each whether it is read, changed or inserted into. $4 has the OIDs
// of types. The kinds of rows are: k, a node that a name stands for, or the name's sign; n, a node, why it is bad, and its sign; e, an edge; x, an
// expression; u, the owner of a table that a foreign key changes; g, a function that a trigger calls, and the trigger's definition if it has a condition;
// f, a function of an expression or operator that may be the user's own; o, the operator family of an operator class that it uses.
var askNodes = sync.OnceValue(func() string {
	return `with recursive k as materialized (select k.* from (select k.s, k.n, ` + relationOf + `, ` + typeOfName + `, u, i
		from unnest($1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[]) with ordinality k(s, n, u, i)) k(s, n, rel, typ, u, i)),
base(i, c, o) as materialized (
	select i, u, rel from k where rel operator(pg_catalog.<>) 0::pg_catalog.oid
	union all select i, 't', typ from k where typ operator(pg_catalog.>=) 16384::pg_catalog.oid
	union all select 0, 't', t from unnest($4::pg_catalog.oid[]) t),
e(fc, fo, c, o) as (select '', 0::pg_catalog.oid, c, o from base union select n.c, n.o, m.c, m.o from e n cross join lateral ` + next + `
	where m.o operator(pg_catalog.<>) 0::pg_catalog.oid and ` + relevant + `),
n as materialized (select distinct c, o from e),
a as materialized (select n.c, n.o, a.* from n cross join lateral ` + attached + `)
select 'k', i::pg_catalog.text, c, o::pg_catalog.text, '' from base
union all select 'k', i::pg_catalog.text, '', (` + nameSign + `)::pg_catalog.text, '' from k
union all select 'n', c, o::pg_catalog.text, ` + badNode + `, (case when c operator(pg_catalog.=) 't' then ` + typeSign(isNode) + ` else ` + relationSign(isNode) + ` end)::pg_catalog.text from n
union all select 'e', fc, fo::pg_catalog.text, c, o::pg_catalog.text from e where fc operator(pg_catalog.<>) ''
union all select 'x', c, o::pg_catalog.text, expression, '' from a where expression is not null
union all select 'u', n.c, n.o::pg_catalog.text, pg_catalog.pg_get_userbyid(k.relowner), '' from n join pg_catalog.pg_class k on k.oid operator(pg_catalog.=) n.o
	where n.c operator(pg_catalog.=) any ('{w,i}') and pg_catalog.pg_get_userbyid(k.relowner) operator(pg_catalog.<>) session_user
	and exists (select from e where e.c operator(pg_catalog.=) n.c and e.o operator(pg_catalog.=) n.o and e.fc operator(pg_catalog.=) any ('{w,i}'))
union all select 'g', n.c, n.o::pg_catalog.text, p.proname, case when t.tgqual is null then '' else pg_catalog.pg_get_triggerdef(t.oid) end
	from n join pg_catalog.pg_trigger t on t.tgrelid operator(pg_catalog.=) n.o and (not t.tgisinternal or t.tgfoid operator(pg_catalog.>=) 16384::pg_catalog.oid)
	join pg_catalog.pg_proc p on p.oid operator(pg_catalog.=) t.tgfoid where n.c operator(pg_catalog.=) any ('{w,i}')
union all select case when f.family is null then 'f' else 'o' end, a.c, a.o::pg_catalog.text, coalesce(f.schema::pg_catalog.text, f.family::pg_catalog.text), f.name from a
	cross join lateral ` + dependsOn + `
	cross join lateral (
		select s.nspname, p.proname, null::pg_catalog.oid from pg_catalog.pg_proc p join pg_catalog.pg_namespace s on s.oid operator(pg_catalog.=) p.pronamespace
			where d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass and p.oid operator(pg_catalog.=) d.refobjid and ` + own + `
		union all select s.nspname, p.proname, null from pg_catalog.pg_operator o join pg_catalog.pg_proc p on p.oid operator(pg_catalog.=) o.oprcode
			join pg_catalog.pg_namespace s on s.oid operator(pg_catalog.=) p.pronamespace
			where d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass and o.oid operator(pg_catalog.=) d.refobjid
			and (p.oid operator(pg_catalog.<) 16384::pg_catalog.oid or ` + own + `)
		union all select null, '', o.opcfamily from pg_catalog.pg_opclass o
			where d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_opclass'::pg_catalog.regclass and o.oid operator(pg_catalog.=) d.refobjid) f(schema, name, family)
	where d.refobjid operator(pg_catalog.>=) 16384::pg_catalog.oid`
})

// AskSign asks for one sum: of the signs of the names $2 in the schemas $1, the relations $3, the types $4, the functions named $5, and askGlobal's.
var AskSign = sync.OnceValue(func() string {
	return `select (coalesce((select pg_catalog.sum((` + nameSign + `)::pg_catalog.numeric) from ` + keysOf + `), 0)` +
		plus + relationSign("operator(pg_catalog.=) any ($3::pg_catalog.oid[])") +
		plus + typeSign("operator(pg_catalog.=) any ($4::pg_catalog.oid[])") +
		plus + functionSign("operator(pg_catalog.=) any ($5::pg_catalog.name[])") + plus + globalSign() + `)::pg_catalog.text`
})
