package pool

import "github.com/jackc/pgx/v5"

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
