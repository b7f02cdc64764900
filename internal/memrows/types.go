package memrows

import (
	"reflect"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Maps has the Set of a connection, and makes it when it is first needed. It is safe for concurrent use.
type Maps struct {
	Closed func() *pgx.Conn // makes a closed connection, which Rows.Conn returns

	mu   sync.Mutex
	set  *Set
	lent bool // the user has the raw connection, and may register types at any time
}

// Of returns what c's types are now. Only the connection's owner calls it.
func (m *Maps) Of(c *pgx.Conn) *Set {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set == nil || m.lent {
		m.set = newSet(c.TypeMap(), m.Closed)
	}
	return m.set
}

// Lend notes that the user has the raw connection from now on. Forget notes that the user's code has had it and has returned it.
func (m *Maps) Lend()   { m.forget(true) }
func (m *Maps) Forget() { m.forget(false) }

func (m *Maps) forget(lent bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set, m.lent = nil, lent
}

// Set is the Go side of the types of one connection, as it was at one moment. It is safe for concurrent use.
type Set struct {
	base   *pgtype.Map // a copy of the connection's Map, which nobody changes
	given  pgtype.Map  // the connection's Map, copied by value, for givenType only
	closed func() *pgx.Conn

	mu   sync.Mutex
	free []*mapCopy
}

// maxFree is how many copies of its Map a Set keeps for reuse: as many as reads ride together.
const maxFree = 32

// newSet returns the Set of the connection whose Map is m. Only that connection's owner may call it.
func newSet(m *pgtype.Map, closed func() *pgx.Conn) *Set {
	base := copyMap(m)
	for _, oid := range userTypesOf(m) { // base needs its own codecs, since other goroutines read base while the connection uses m
		if src, ok := base.TypeForOID(oid); ok {
			if own := (*mapCopy)(nil).ownType(src); own != src {
				base.RegisterType(own)
			}
		}
	}
	for _, m := range []*pgtype.Map{m, base} {
		m.TypeForValue(nil) // makes m build the table that givenType reads
	}
	return &Set{base: base, given: *m, closed: closed}
}

// Knows reports whether oid is a type that the connection knows.
func (s *Set) Knows(oid uint32) bool {
	_, ok := s.base.TypeForOID(oid)
	return ok
}

// FormatOf returns the format in which pgx asks for values of type oid.
func (s *Set) FormatOf(oid uint32) int16 { return s.base.FormatCodeForOID(oid) }

// Encode encodes args for the parameters of d.
func (s *Set) Encode(eqb *pgx.ExtendedQueryBuilder, d *pgconn.StatementDescription, args []any) error {
	t := s.get()
	for _, oid := range d.ParamOIDs {
		t.adoptOID(oid)
	}
	err := eqb.Build(t.Map, d, args)
	t.give() // not deferred: after a panic in a Valuer it may be in any state
	return err
}

// mapCopy is a copy of a Set's Map for one row, or result, at a time. It has codecs of its own where codecs have a state.
type mapCopy struct {
	*pgtype.Map
	set     *Set
	fields  []pgconn.FieldDescription // the columns of the last rows; nobody changes the slice
	adopted map[uint32]adopted
	asked   map[reflect.Type]int // Go types for which set was asked for the given type, and to how many levels below
	loose   bool                 // the row may have a value whose type depends on its destination
	conn    *pgx.Conn            // the closed connection that has the Map as its TypeMap; nil if nobody asked for it
}

// take returns a copy for rows whose columns are fields. give takes it back.
func (s *Set) take(fields []pgconn.FieldDescription) *mapCopy {
	t := s.get()
	if slices.Equal(t.fields, fields) {
		return t
	}
	t.fields, t.loose = slices.Clone(fields), false
	for i := range fields {
		oid := fields[i].DataTypeOID
		t.adoptOID(oid)
		t.loose = t.loose || s.mayAskFor(oid, 0)
	}
	return t
}

func (s *Set) get() (t *mapCopy) {
	s.mu.Lock()
	if last := len(s.free) - 1; last >= 0 {
		t, s.free = s.free[last], s.free[:last]
	}
	s.mu.Unlock()
	if t == nil {
		t = &mapCopy{Map: copyMap(s.base), set: s, adopted: make(map[uint32]adopted), asked: make(map[reflect.Type]int)}
		t.TryWrapScanPlanFuncs = slices.Insert(slices.Clone(t.TryWrapScanPlanFuncs), 0, t.tryGiven)
	}
	return t
}

// connOf returns the Conn of rows in memory. It is closed, but has the rows' TypeMap, which is why callers ask for it.
func (t *mapCopy) connOf() *pgx.Conn {
	if t.conn == nil {
		t.conn = t.set.closed()
		own := t.conn.TypeMap() // only this goroutine has both maps, and give drops a copy whose conn was asked for
		*own, t.Map = *t.Map, own
	}
	return t.conn
}

// give keeps t for the next take. Any goroutine may call it.
func (t *mapCopy) give() {
	if t.conn != nil { // the caller may keep that connection, and so the Map
		return
	}
	s := t.set
	s.mu.Lock()
	if len(s.free) < maxFree {
		s.free = append(s.free, t)
	}
	s.mu.Unlock()
}

// decode decodes one row as pgx's Rows.Values does.
func (t *mapCopy) decode(fields []pgconn.FieldDescription, raw [][]byte) ([]any, error) {
	values := make([]any, len(fields))
	for i, f := range fields {
		v := raw[i]
		typ, known := t.TypeForOID(f.DataTypeOID)
		switch {
		case v == nil:
		case known:
			d, err := typ.Codec.DecodeValue(t.Map, f.DataTypeOID, f.Format, v)
			if err != nil {
				return nil, err
			}
			values[i] = d
		case f.Format == pgx.TextFormatCode:
			values[i] = string(v)
		default:
			values[i] = slices.Clone(v)
		}
	}
	return values, nil
}

// givenType returns the type that RegisterDefaultPgType has set for v's Go type, or nil if v has the same type without that. No method of a Map lists
// these types. But a Map makes a table of them when it is first asked for a type, and replaces the table when something is registered later. So a Map
// that was copied by value after it had made its table can be asked at any time.
func (s *Set) givenType(v any) *pgtype.Type {
	given, _ := s.given.TypeForValue(v)
	if usual, _ := s.base.TypeForValue(v); usual == given {
		return nil
	}
	return given
}

// planDepth is how many levels pgx goes down into a destination's type.
const planDepth = 8

// mayAskFor reports whether a value of type oid may have an unknown type, or contain a value of one. A record may contain anything.
func (s *Set) mayAskFor(oid uint32, depth int) bool {
	typ, ok := s.base.TypeForOID(oid)
	if !ok || depth > planDepth {
		return true
	}
	switch typ.Codec.(type) {
	case pgtype.RecordCodec, *pgtype.RecordCodec:
		return true
	}
	return anyInside(typ.Codec, func(typ *pgtype.Type) bool { return s.mayAskFor(typ.OID, depth+1) })
}

// askFor registers what is given for dest, the destinations of one row. If a column's type is not known, such as an enum's, pgx goes by the destination.
func (t *mapCopy) askFor(dest []any) {
	if !t.loose {
		return
	}
	for _, d := range dest {
		if d != nil {
			t.askForType(reflect.TypeOf(d), 0)
		}
	}
}

// askForType registers what is given for typ and for the types in it, in the order in which pgx goes through a destination. If typ was met before at a
// greater depth, or only in tryGiven, not all types in it were asked for, so it is asked for again.
func (t *mapCopy) askForType(typ reflect.Type, depth int) {
	if below, ok := t.asked[typ]; depth > planDepth || ok && below >= planDepth-depth {
		return
	}
	t.asked[typ] = planDepth - depth
	t.register(reflect.Zero(typ).Interface())
	switch typ.Kind() {
	case reflect.Pointer:
		t.askForType(typ.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		t.askForType(reflect.PointerTo(typ.Elem()), depth+1)
	case reflect.Struct:
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() {
				t.askForType(reflect.PointerTo(f.Type), depth+1)
			}
		}
	}
}

// register registers in t, for v's Go type, the type that the connection gives it. It reports whether that is new.
func (t *mapCopy) register(v any) bool {
	typ := t.set.givenType(v)
	if typ == nil {
		return false
	}
	if have, ok := t.TypeForValue(v); ok && (have == typ || t.adopted[typ.OID].own == have) {
		return false
	}
	t.adopt(typ.OID, typ)
	t.RegisterDefaultPgType(v, typ.Name)
	return true
}

// tryGiven is the first wrapper that pgx tries when it has no plan for a destination. It registers what is given for destinations that askForType does
// not find, such as those that a wrapper of the user's makes. If that is new, pgx plans once more.
func (t *mapCopy) tryGiven(target any) (pgtype.WrappedScanPlanNextSetter, any, bool) {
	typ := reflect.TypeOf(target)
	if _, ok := t.asked[typ]; ok {
		return nil, nil, false
	}
	if t.asked[typ] = 0; !t.register(target) {
		return nil, nil, false
	}
	return &samePlan{}, target, true
}

// samePlan does what the next plan does.
type samePlan struct{ next pgtype.ScanPlan }

func (p *samePlan) SetNext(next pgtype.ScanPlan)      { p.next = next }
func (p *samePlan) Scan(src []byte, target any) error { return p.next.Scan(src, target) }
