package pool

import (
	"reflect"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// typeSet is the Go side of the types of one connection, as it was at one moment: a
// pgtype.Map is not safe for concurrent use, and rows are decoded after their connection has
// gone on to somebody else. It lives as long as its rows, and is safe for concurrent use.
type typeSet struct {
	base  *pgtype.Map // a copy of the connection's; nobody changes it
	given pgtype.Map  // the connection's by value; asked for given types only, see givenType

	ended *placeholder // for who asks rows in memory for their connection

	mu   sync.Mutex
	free []*rowTypes // copies of base
}

// newTypeSet is called by who owns the connection of m.
func newTypeSet(m *pgtype.Map, ended *placeholder) *typeSet {
	base := copyMap(m)
	for _, oid := range userTypesOf(m) { // whoever copies base looks at its codecs, and the connection goes on using its own
		if src, ok := base.TypeForOID(oid); ok {
			if own := (&rowTypes{}).ownType(src); own != src {
				base.RegisterType(own)
			}
		}
	}
	for _, m := range []*pgtype.Map{m, base} {
		m.TypeForValue(nil) // has it make the table that givenType reads
	}
	return &typeSet{base: base, given: *m, ended: ended}
}

// userTypesOf are the OIDs of what is registered and not built-in. No method of a Map tells them.
func userTypesOf(m *pgtype.Map) (oids []uint32) {
	registered := reflect.ValueOf(m).Elem().FieldByName("oidToType")
	if registered.Kind() != reflect.Map {
		return nil
	}
	for it := registered.MapRange(); it.Next(); {
		if oid := uint32(it.Key().Uint()); oid >= firstUserOID {
			oids = append(oids, oid)
		}
	}
	return oids
}

// givenType is what RegisterDefaultPgType has said of v's Go type, or nothing, if that is what
// it says in any case. A Map's Copy leaves these behind, and no method tells them. But a Map
// makes a table of them when it is first asked for one, and a new table when something
// is registered later; so a Map that was copied by value and has its table can be asked at any time.
func (s *typeSet) givenType(v any) (*pgtype.Type, bool) {
	t, ok := s.given.TypeForValue(v)
	if !ok {
		return nil, false
	}
	if usual, ok := s.base.TypeForValue(v); ok && usual == t {
		return nil, false
	}
	return t, true
}

// connTypes is the typeSet of a connection, made when it is first needed.
type connTypes struct {
	mu    sync.Mutex
	set   *typeSet
	ended *placeholder
	lent  bool // somebody has the raw connection, and may register types at any time
}

// of returns what c's types are now. The connection's owner calls it.
func (t *connTypes) of(c *pgx.Conn) *typeSet {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.set == nil || t.lent {
		t.set = newTypeSet(c.TypeMap(), t.ended)
	}
	return t.set
}

// forget says that code of the user's has had the connection, or has it from now on.
func (t *connTypes) forget(lent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set, t.lent = nil, lent
}

// rowTypes is a copy for one row, or result, at a time.
type rowTypes struct {
	*pgtype.Map
	set     *typeSet
	adopted map[uint32]adopted
	asked   map[reflect.Type]int // the set has been asked what is given for it, and for what is in it, so many levels deep
	loose   bool                 // the row has what may depend on what is given for a destination
	conn    *pgx.Conn            // whose TypeMap it is; nil: nobody asked for it
}

// adopted is a type with codecs of its own, if they have a state, and from what it was made.
type adopted struct{ from, own *pgtype.Type }

// take returns a copy that fits rows of fields.
func (s *typeSet) take(fields []pgconn.FieldDescription) *rowTypes {
	t := s.get()
	t.loose = false
	for i := range fields {
		oid := fields[i].DataTypeOID
		t.adoptOID(oid)
		t.loose = t.loose || s.mayAskFor(oid, 0)
	}
	return t
}

// takeFor returns a copy that encodes arguments of d.
func (s *typeSet) takeFor(d *description) *rowTypes {
	t := s.get()
	for _, oid := range d.ParamOIDs {
		t.adoptOID(oid)
	}
	return t
}

// get returns a copy, made now or before.
func (s *typeSet) get() *rowTypes {
	s.mu.Lock()
	if n := len(s.free); n > 0 {
		t := s.free[n-1]
		s.free = s.free[:n-1]
		s.mu.Unlock()
		return t
	}
	s.mu.Unlock()
	t := &rowTypes{Map: copyMap(s.base), set: s, adopted: make(map[uint32]adopted), asked: make(map[reflect.Type]int)}
	t.TryWrapScanPlanFuncs = slices.Insert(slices.Clone(t.TryWrapScanPlanFuncs), 0, t.tryGiven)
	return t
}

// connOf returns the Conn of rows that are in memory: closed, like that of rows whose lease has ended, but
// with the TypeMap of the rows, which is what it is asked for.
func (t *rowTypes) connOf() *pgx.Conn {
	if t.conn == nil {
		c, _ := t.set.ended.conn()
		*c.TypeMap() = *t.Map // both are of this goroutine, and t will be of no other
		t.Map, t.conn = c.TypeMap(), c
	}
	return t.conn
}

// give gives t back. It is called by anybody.
func (t *rowTypes) give() {
	if t.conn != nil { // somebody may keep that
		return
	}
	s := t.set
	s.mu.Lock()
	if len(s.free) < maxFlight {
		s.free = append(s.free, t)
	}
	s.mu.Unlock()
}

// copyMap copies what is registered, and the wrappers that Copy forgets. What stays
// behind is RegisterDefaultPgType, for which there is givenType.
func copyMap(src *pgtype.Map) *pgtype.Map {
	m := src.Copy()
	m.TryWrapEncodePlanFuncs = src.TryWrapEncodePlanFuncs
	m.TryWrapScanPlanFuncs = src.TryWrapScanPlanFuncs
	return m
}

// adoptOID adopts the set's type of oid, if it has one.
func (t *rowTypes) adoptOID(oid uint32) {
	if src, ok := t.set.base.TypeForOID(oid); ok {
		t.adopt(oid, src)
	}
}

// adopt makes src the type of oid, with codecs of its own, and has the types inside it
// have their own too.
func (t *rowTypes) adopt(oid uint32, src *pgtype.Type) {
	if a := t.adopted[oid]; a.from == src || a.own == src {
		return
	}
	own := t.ownType(src)
	t.adopted[oid] = adopted{src, own}
	if have, _ := t.TypeForOID(oid); have == own {
		return
	}
	t.RegisterType(own)
	switch c := src.Codec.(type) {
	case *pgtype.ArrayCodec:
		t.adoptInside(c.ElementType)
	case *pgtype.RangeCodec:
		t.adoptInside(c.ElementType)
	case *pgtype.MultirangeCodec:
		t.adoptInside(c.ElementType)
	case *pgtype.CompositeCodec:
		for _, f := range c.Fields {
			t.adoptInside(f.Type)
		}
	}
}

// adoptInside is adopt for the type of a value inside another. It is decoded by what the
// Map has for its OID: that may have another name than typ, which is the outer one's.
func (t *rowTypes) adoptInside(typ *pgtype.Type) {
	if have, ok := t.TypeForOID(typ.OID); ok {
		typ = have
	}
	t.adopt(typ.OID, typ)
}

// ownType returns src with codecs of its own where codecs have a state; src itself if
// none has.
func (t *rowTypes) ownType(src *pgtype.Type) *pgtype.Type {
	c, ok := t.ownCodec(src.Codec)
	if !ok {
		return src
	}
	own := *src
	own.Codec = c
	return &own
}

// ownCodec returns a codec that does what src does, if src or one inside it has a state:
// EnumCodec caches what it decodes in a Go map. What is inside a record is known only
// from its value.
func (t *rowTypes) ownCodec(src pgtype.Codec) (own pgtype.Codec, ok bool) {
	switch c := src.(type) {
	case *pgtype.EnumCodec:
		return &pgtype.EnumCodec{}, true
	case pgtype.RecordCodec, *pgtype.RecordCodec:
		if t.set == nil {
			return src, false
		}
		return recordCodec{types: t}, true
	case *pgtype.ArrayCodec:
		if e := t.ownType(c.ElementType); e != c.ElementType {
			return &pgtype.ArrayCodec{ElementType: e, Delimiter: c.Delimiter}, true
		}
	case *pgtype.RangeCodec:
		if e := t.ownType(c.ElementType); e != c.ElementType {
			return &pgtype.RangeCodec{ElementType: e}, true
		}
	case *pgtype.MultirangeCodec:
		if e := t.ownType(c.ElementType); e != c.ElementType {
			return &pgtype.MultirangeCodec{ElementType: e}, true
		}
	case *pgtype.CompositeCodec:
		fields := slices.Clone(c.Fields)
		for i, f := range fields {
			fields[i].Type = t.ownType(f.Type)
			ok = ok || fields[i].Type != f.Type
		}
		return &pgtype.CompositeCodec{Fields: fields}, ok
	case *pgtype.TextFormatOnlyCodec:
		if own, ok = t.ownCodec(c.Codec); ok {
			return &pgtype.TextFormatOnlyCodec{Codec: own}, true
		}
	}
	return src, false
}
