package catalog

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
)

// Subject is a connection on which statements are looked at. No caller uses it meanwhile, and its session is clean.
type Subject struct {
	facts.Asker
	Facts *facts.Facts        // nil if statements are not judged by the connection's facts
	Types func() *memrows.Set // returns the connection's Go types; nil if it has no lane
}

// Learn asks the server for facts about the names in s that are not known yet and, if s may ride, for the description of s. It takes 5 s at most. The
// caller should log an error: for a while nothing is asked then, and statements that are not known go alone.
func (g *Store) Learn(s *Statement, on *Subject) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // for all that is asked about one statement
	defer cancel()
	if on.Facts == nil || s.Mentions == nil {
		return nil
	}
	if on.PG.ParameterStatus("standard_conforming_strings") != "on" || on.PG.ParameterStatus("client_encoding") != "UTF8" {
		return nil // the scanner and the server would disagree where a string ends
	}
	know := func(types []uint32) (bool, error) {
		return on.Facts.Know(ctx, on.Answers, s.Mentions, types, g.unproven)
	}
	if known, err := know(nil); !known {
		return err
	}
	if on.Types == nil || g.facts() != on.Facts || on.MustYield() || !s.Claim() {
		return nil
	}
	var d *Description
	why := ""
	defer func() { // deferred because the user's hooks may panic
		if on.HasYielded() {
			s.unclaim()
			return
		}
		s.Record(d, why)
	}()
	sd, err := on.Describe(ctx, s.SQL)
	if err != nil {
		return nil // a later look tries again
	}
	found := Describe(sd, on.Types())
	if why = found.Unfit(); why != "" {
		return nil
	}
	known, err := know(found.user)
	if known {
		d = found
	}
	return err
}

// IsSteady reports whether s draws from the same sequences each time, by the facts of its connection. If known is false, FindSteady can ask the server.
func (s *Statement) IsSteady(by *facts.Facts) (steady, known bool) {
	if s.Sequences.Table == "" {
		return true, true
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if by == nil || !s.steadyBy.Holds(by) { // the catalogs have changed
		return false, false
	}
	return s.isSteady, true
}

// steadyTable asks whether each default of a table that draws from a sequence is just a nextval of one sequence, without a condition.
const steadyTable = `select c.relkind operator(pg_catalog.=) any ('{r,p}') and not c.relhasrules
	and not exists(select from pg_catalog.pg_attrdef d where d.adrelid operator(pg_catalog.=) c.oid
		and pg_catalog.pg_get_expr(d.adbin, d.adrelid) operator(pg_catalog.~) '(nextval|setval)'
		and pg_catalog.pg_get_expr(d.adbin, d.adrelid) operator(pg_catalog.!~) '^nextval[(]''[^'']*''::regclass[)]$')
	and not exists(select from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) a.atttypid
		where a.attrelid operator(pg_catalog.=) c.oid and not a.attisdropped and t.typdefault operator(pg_catalog.~) '(nextval|setval)')
	from pg_catalog.pg_class c where c.oid operator(pg_catalog.=) pg_catalog.to_regclass($1)`

// FindSteady asks the server what IsSteady returns. The session of pc must be clean. If the server answers with an error, s counts as not steady.
func (s *Statement) FindSteady(ctx context.Context, pc *pgconn.PgConn, by *facts.Facts) {
	now := by.Now()
	r := pc.ExecParams(ctx, steadyTable, [][]byte{[]byte(s.Sequences.Table)}, nil, nil, nil).Read()
	is := r.Err == nil && len(r.Rows) == 1 && string(r.Rows[0][0]) == "t"
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.isSteady, s.steadyBy = is, now
}
