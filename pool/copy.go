package pool

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// copier is pgx's Conn or Tx.
type copier interface {
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
}

// copyFrom runs a CopyFrom on c, which is l's. It runs between enter and leave. pgx describes the
// columns by a query that it caches, in the mode of the connection: where texts mean something
// else (meaning.go), what it has of that is dropped before and after.
func (l *Lease) copyFrom(ctx context.Context, c copier, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	l.heard()
	same, err := l.settled(ctx)
	if err != nil {
		return 0, err
	}
	l.noteAny() // of triggers
	source := &safeSource{p: l.p, src: src}
	if same || !caches(l.c.mode) {
		l.changes(sqltext.KeepsMeaning, true)
		return c.CopyFrom(ctx, table, columns, source)
	}
	quoted := make([]string, len(columns))
	for i, name := range columns {
		quoted[i] = quoteName(name)
	}
	query := []string{"select " + strings.Join(quoted, ", ") + " from " + table.Sanitize()} // pgx's words
	if err := l.c.forget(ctx, query); err != nil {
		return 0, err
	}
	n, err := c.CopyFrom(ctx, table, columns, source)
	if !l.c.pg.IsClosed() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
		defer cancel()
		if l.c.forget(ctx, query) != nil {
			l.residue.trace = sqltext.LastingTrace // the connection is closed
		}
	}
	return n, err
}

// safeSource is the user's CopyFromSource, whose panic is its error: pgx reads it in
// a goroutine of its own that does not recover, so nothing else could catch it.
type safeSource struct {
	p   *Pool
	src pgx.CopyFromSource
	err error
}

func (s *safeSource) Next() (more bool) {
	if err := s.p.guard("CopyFromSource", func() error { more = s.src.Next(); return nil }); err != nil {
		s.err, more = err, false
	}
	return more
}

func (s *safeSource) Values() (values []any, err error) {
	if panicked := s.p.guard("CopyFromSource", func() error { values, err = s.src.Values(); return nil }); panicked != nil {
		s.err, err = panicked, panicked
	}
	return values, err
}

func (s *safeSource) Err() (err error) {
	if s.err != nil {
		return s.err
	}
	if panicked := s.p.guard("CopyFromSource", func() error { err = s.src.Err(); return nil }); panicked != nil {
		s.err, err = panicked, panicked
	}
	return err
}
