package catalog

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
)

// Subject is a connection on which statements are looked at. It is nobody's just now, and its session is clean.
type Subject struct {
	facts.Asker
	Facts *facts.Facts        // nil: nothing is judged by it
	Types func() *memrows.Set // nil: it carries no lane
}

// Learn finds out what is not known yet of s: what it mentions and, if it may ride, its description. An error is to be told: meanwhile
// statements go alone.
func (g *Store) Learn(s *Statement, on *Subject) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // for all that is asked about one statement
	defer cancel()
	if on.Facts == nil || s.Mentions == nil {
		return nil
	}
	if known, err := g.know(ctx, on, s, nil); !known {
		return err
	}
	if on.Types == nil || g.facts() != on.Facts || !s.Claim() {
		return nil
	}
	var d *Description
	why := ""
	defer func() { s.Record(d, why) }() // also when a hook of pgx's panics
	sd, err := on.Describe(ctx, s.SQL)
	if err != nil {
		return nil // it is tried again
	}
	found := Describe(sd, on.Types())
	if why = found.Unfit(); why != "" {
		return nil
	}
	known, err := g.know(ctx, on, s, found.user)
	if known {
		d = found
	}
	return err
}

// know asks the server about the names that s mentions, and about types, as far as they are not known yet.
func (g *Store) know(ctx context.Context, on *Subject, s *Statement, types []uint32) (bool, error) {
	if on.PG.ParameterStatus("standard_conforming_strings") != "on" || on.PG.ParameterStatus("client_encoding") != "UTF8" {
		return false, nil // the scanner would read other strings than the server
	}
	return on.Facts.Know(ctx, on.Answers, s.Mentions, types, g.unproven)
}

// IsSteady reports whether s draws from the same sequences each time, and whether that is known, by the facts of its connection.
// If it is not, FindSteady finds out.
func (s *Statement) IsSteady(by *facts.Facts) (steady, known bool) {
	if s.Sequences.Table == "" {
		return true, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if by == nil || !s.steadyBy.Holds(by) { // the catalogs have changed
		return false, false
	}
	return s.isSteady, true
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
	now := by.Now()
	r := pc.ExecParams(ctx, steadyTable, [][]byte{[]byte(s.Sequences.Table)}, nil, nil, nil).Read()
	is := r.Err == nil && len(r.Rows) == 1 && string(r.Rows[0][0]) == "t"
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isSteady, s.steadyBy = is, now
}
