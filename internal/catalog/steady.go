package catalog

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
)

// IsSteady reports whether s draws from the same sequences each time, and whether that is known, by the facts of its connection. If it is not,
// FindSteady finds out.
func (s *Statement) IsSteady(by *facts.Facts) (steady, known bool) {
	if s.Sequences.Table == "" {
		return true, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if by == nil || !s.by.Holds(by) { // the catalogs have changed
		return false, false
	}
	return s.is, true
}

// steadyTable asks whether all defaults of a table that draw are nextval of one sequence, without a condition.
const steadyTable = `select c.relkind operator(pg_catalog.=) any ('{r,p}') and not c.relhasrules
	and not exists(select from pg_catalog.pg_attrdef d where d.adrelid operator(pg_catalog.=) c.oid
		and pg_catalog.pg_get_expr(d.adbin, d.adrelid) operator(pg_catalog.~) '(nextval|setval)'
		and pg_catalog.pg_get_expr(d.adbin, d.adrelid) operator(pg_catalog.!~) '^nextval[(]''[^'']*''::regclass[)]$')
	and not exists(select from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) a.atttypid
		where a.attrelid operator(pg_catalog.=) c.oid and not a.attisdropped and t.typdefault operator(pg_catalog.~) '(nextval|setval)')
	from pg_catalog.pg_class c where c.oid operator(pg_catalog.=) pg_catalog.to_regclass($1)`

// FindSteady asks for s, in a clean session. What the server refuses to say is taken for not steady.
func (s *Statement) FindSteady(ctx context.Context, pc *pgconn.PgConn, by *facts.Facts) {
	found := steady{by: by.Now()}
	r := pc.ExecParams(ctx, steadyTable, [][]byte{[]byte(s.Sequences.Table)}, nil, nil, nil).Read()
	found.is = r.Err == nil && len(r.Rows) == 1 && string(r.Rows[0][0]) == "t"
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steady = found
}
