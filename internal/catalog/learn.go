package catalog

import (
	"context"
	"time"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Subject is a connection on which statements are looked at. It is nobody's just now, and its session is clean.
type Subject struct {
	facts.Asker
	Facts *facts.Facts        // nil: nothing is judged by it
	Types func() *memrows.Set // nil: it carries no lane
}

// learnTimeout bounds what is asked about one statement.
const learnTimeout = 5 * time.Second

// Learn finds out what is not known yet of s: what it mentions and, if it may ride, its description. An error is to be told: meanwhile
// statements go alone.
func (g *Store) Learn(s *Statement, on *Subject) error {
	ctx, cancel := context.WithTimeout(context.Background(), learnTimeout)
	defer cancel()
	if on.Facts == nil || s.Mentions == nil {
		return nil
	}
	if known, err := g.know(ctx, on, s.Mentions, nil); !known {
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
	known, err := g.know(ctx, on, s.Mentions, found.user)
	if known {
		d = found
	}
	return err
}

// know asks the server about the names in m, and about types, as far as they are not known yet.
func (g *Store) know(ctx context.Context, on *Subject, m *sqltext.Mentions, types []uint32) (bool, error) {
	if on.PG.ParameterStatus("standard_conforming_strings") != "on" || on.PG.ParameterStatus("client_encoding") != "UTF8" {
		return false, nil // the scanner would read other strings than the server
	}
	return on.Facts.Know(ctx, on.Answers, m, types, g.unproven)
}
