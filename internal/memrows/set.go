package memrows

import (
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Set is the Go side of the types of one connection, as it was at one moment. It lives as long as
// its rows, and is safe for concurrent use.
type Set struct {
	registered
	closed func() *pgx.Conn

	mu   sync.Mutex
	free []*mapCopy
}

// maxFree is how many copies a Set keeps: as many as reads ride together.
const maxFree = 32

// newSet is called by who owns the connection of m.
func newSet(m *pgtype.Map, closed func() *pgx.Conn) *Set {
	return &Set{registered: registeredIn(m), closed: closed}
}

// Knows reports whether oid is a type that the connection knows.
func (s *Set) Knows(oid uint32) bool {
	_, ok := s.base.TypeForOID(oid)
	return ok
}

// FormatOf is the format in which pgx asks for values of type oid.
func (s *Set) FormatOf(oid uint32) int16 { return s.base.FormatCodeForOID(oid) }

// Encode encodes args for the parameters of d, if they can be.
func (s *Set) Encode(eqb *pgx.ExtendedQueryBuilder, d *pgconn.StatementDescription, args []any) error {
	t := s.get()
	for _, oid := range d.ParamOIDs {
		t.adoptOID(oid)
	}
	err := eqb.Build(t.Map, d, args)
	t.give() // not after a panic in a Valuer: it may be in any state
	return err
}

// mapCopy is a copy of a Set's Map for one row, or result, at a time.
type mapCopy struct {
	destinations
	set  *Set
	conn *pgx.Conn // whose TypeMap it is; nil: nobody asked for it
}

// take returns a copy that fits rows of fields.
func (s *Set) take(fields []pgconn.FieldDescription) *mapCopy {
	t := s.get()
	t.expect(fields)
	return t
}

// get returns a copy, made now or before.
func (s *Set) get() *mapCopy {
	s.mu.Lock()
	if n := len(s.free); n > 0 {
		t := s.free[n-1]
		s.free = s.free[:n-1]
		s.mu.Unlock()
		return t
	}
	s.mu.Unlock()
	t := &mapCopy{set: s}
	t.copyOf(&s.registered)
	return t
}

// connOf returns the Conn of rows that are in memory: closed, but with the TypeMap of the rows, which is what it is asked for.
func (t *mapCopy) connOf() *pgx.Conn {
	if t.conn == nil {
		t.conn = t.set.closed()
		t.moveTo(t.conn.TypeMap()) // both are of this goroutine, and t will be of no other
	}
	return t.conn
}

// give gives t back. It is called by anybody.
func (t *mapCopy) give() {
	if t.conn != nil { // somebody may keep that
		return
	}
	s := t.set
	s.mu.Lock()
	if len(s.free) < maxFree {
		s.free = append(s.free, t)
	}
	s.mu.Unlock()
}
