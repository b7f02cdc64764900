package pool

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/sqltext"
)

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

// more finds out what writing to some tables runs that no plan shows: an empty row stands
// for triggers, and functions of the user's own in constraints, columns, indexes, policies
// and the keys of partitions; the others are the expressions, whose functions of
// PostgreSQL's own are in no pg_depend. Partitions and tables that foreign keys lead to
// are looked at, too. $2: a DEFAULT may stand where no plan shows it, in ON CONFLICT or MERGE.
const more = `with recursive hit(oid) as (
	select pg_catalog.to_regclass(n)::pg_catalog.oid from unnest($1::pg_catalog.text[]) n
	union select x.oid from hit h cross join lateral (
		select c.conrelid from pg_catalog.pg_constraint c where c.confrelid operator(pg_catalog.=) h.oid and c.contype operator(pg_catalog.=) 'f'
			and (c.confdeltype operator(pg_catalog.=) any ('{c,n,d}') or c.confupdtype operator(pg_catalog.=) any ('{c,n,d}'))
		union all select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent operator(pg_catalog.=) h.oid) x(oid)),
said(expression) as (
	select pg_catalog.pg_get_expr(c.conbin, c.conrelid) from pg_catalog.pg_constraint c, hit h where c.conrelid operator(pg_catalog.=) h.oid
	union select pg_catalog.pg_get_expr(e, p.polrelid) from pg_catalog.pg_policy p cross join lateral (values (p.polqual), (p.polwithcheck)) _(e), hit h
		where p.polrelid operator(pg_catalog.=) h.oid
	union select pg_catalog.pg_get_expr(a.adbin, a.adrelid) from pg_catalog.pg_attrdef a, hit h where a.adrelid operator(pg_catalog.=) h.oid
		and ($2 or exists(select from pg_catalog.pg_constraint c where c.conrelid operator(pg_catalog.=) h.oid and c.contype operator(pg_catalog.=) 'f'
			and (c.confdeltype operator(pg_catalog.=) 'd' or c.confupdtype operator(pg_catalog.=) 'd')))
	union select 'nextval(null)' from pg_catalog.pg_attribute a, hit h where $2 and a.attrelid operator(pg_catalog.=) h.oid and a.attidentity operator(pg_catalog.<>) '')
select 'select ' operator(pg_catalog.||) expression from said where expression is not null
union all select '' where exists(select from hit where oid is null)
or exists(select from pg_catalog.pg_trigger t, hit h where t.tgrelid operator(pg_catalog.=) h.oid and not t.tgisinternal)
or exists(select from pg_catalog.pg_depend d where d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
	and (d.classid, d.objid) operator(pg_catalog.=) any (
		select 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid, c.oid from pg_catalog.pg_constraint c, hit h where c.conrelid operator(pg_catalog.=) h.oid
		union all select 'pg_catalog.pg_attrdef'::pg_catalog.regclass, a.oid from pg_catalog.pg_attrdef a, hit h where a.adrelid operator(pg_catalog.=) h.oid
		union all select 'pg_catalog.pg_class'::pg_catalog.regclass, h.oid from hit h
		union all select 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid from pg_catalog.pg_index i, hit h where i.indrelid operator(pg_catalog.=) h.oid
		union all select 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid from pg_catalog.pg_policy p, hit h where p.polrelid operator(pg_catalog.=) h.oid))`

// writesMore returns the functions that writing to tables calls beyond those in the plan;
// false if they are not known.
func (c *conn) writesMore(ctx context.Context, sql string, tables []string) (functions []sqltext.Function, known bool) {
	if len(tables) == 0 {
		return nil, true
	}
	defaults := "f"
	if names := sqltext.Names(sql); slices.Contains(names, "default") || slices.Contains(names, "merge") {
		defaults = "t"
	}
	r := c.pg.PgConn().ExecParams(ctx, more, [][]byte{textArray(tables), []byte(defaults)}, []uint32{pgtype.TextArrayOID, pgtype.BoolOID}, nil, nil).Read()
	for _, row := range r.Rows {
		scan := sqltext.Scan(string(row[0])) // "" is refused
		if scan.Refused != "" {
			return nil, false
		}
		functions = append(functions, scan.Functions...)
	}
	return functions, r.Err == nil
}
