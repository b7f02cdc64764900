package pool

// hidden finds the text of what a statement reads through, of which a plan does not show
// all: a view's LIMIT and OFFSET, its VALUES, the frame of its windows, before version 17
// what it compares with IN (SELECT …). $1 is every name in the statement's text; a view
// or policy of the same name that is not meant costs the statement its company at
// most. Nothing in it is looked up by search_path.
const hidden = `with recursive r(oid) as (
	select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
	where c.relname operator(pg_catalog.=) any ($1::pg_catalog.text[]::pg_catalog.name[])
	and (pg_catalog.pg_table_is_visible(c.oid) or n.nspname operator(pg_catalog.=) any ($1::pg_catalog.text[]::pg_catalog.name[]))
union
	select d.refobjid from r
	join (select 'pg_catalog.pg_rewrite'::pg_catalog.regclass, w.oid, w.ev_class from pg_catalog.pg_rewrite w
		union all select 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid, p.polrelid from pg_catalog.pg_policy p) o(class, oid, rel)
		on o.rel operator(pg_catalog.=) r.oid
	join pg_catalog.pg_depend d on d.classid operator(pg_catalog.=) o.class and d.objid operator(pg_catalog.=) o.oid
	where d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
)
select pg_catalog.pg_get_viewdef(c.oid) from r join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) r.oid
where c.relkind operator(pg_catalog.=) 'v'
union all
select 'select ' operator(pg_catalog.||) pg_catalog.pg_get_expr(p.polqual, p.polrelid)
from r join pg_catalog.pg_policy p on p.polrelid operator(pg_catalog.=) r.oid
where p.polqual is not null and p.polcmd operator(pg_catalog.=) any ('{r,*}'::pg_catalog."char"[])`
