package pool

import (
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// typeMaps are copies of a connection's pgtype.Map, for rows that are decoded
// after the connection has gone on to somebody else: a Map is not safe for
// concurrent use.
type typeMaps struct {
	mu    sync.Mutex
	free  []*rowTypes
	ended *placeholder
}

// rowTypes is one copy, and which of its types are its own.
type rowTypes struct {
	*pgtype.Map
	adopted map[uint32]adopted
	conn    *pgx.Conn // whose TypeMap it is; nil: nobody asked for it
}

// adopted is a type with codecs of its own, if they have a state, and from what it was made.
type adopted struct{ from, own *pgtype.Type }

// take returns a copy that fits a row of fields, for the connection's owner.
func (m *typeMaps) take(c *pgx.Conn, fields []pgconn.FieldDescription) *rowTypes {
	t := m.get(c.TypeMap())
	for _, f := range fields {
		if src, ok := c.TypeMap().TypeForOID(f.DataTypeOID); ok {
			t.adopt(f.DataTypeOID, src)
		}
	}
	return t
}

// get returns a copy of src, made now or before. Nobody may change src meanwhile.
func (m *typeMaps) get(src *pgtype.Map) *rowTypes {
	m.mu.Lock()
	if n := len(m.free); n > 0 {
		t := m.free[n-1]
		m.free = m.free[:n-1]
		m.mu.Unlock()
		return t
	}
	m.mu.Unlock()
	return &rowTypes{Map: copyMap(src), adopted: map[uint32]adopted{}}
}

// copyMap copies what is registered, and the wrappers that Copy forgets. What stays
// behind is RegisterDefaultPgType, which matters for encoding to unknown types.
func copyMap(src *pgtype.Map) *pgtype.Map {
	m := src.Copy()
	m.TryWrapEncodePlanFuncs = src.TryWrapEncodePlanFuncs
	m.TryWrapScanPlanFuncs = src.TryWrapScanPlanFuncs
	return m
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

// connOf returns the Conn of rows that are in memory: closed, like that of rows whose lease has ended, but
// with the TypeMap of the rows, which is what it is asked for. t is nil if they are closed.
func (m *typeMaps) connOf(t *rowTypes) *pgx.Conn {
	if t != nil && t.conn != nil {
		return t.conn
	}
	c, _ := m.ended.conn()
	if t != nil {
		*c.TypeMap() = *t.Map // both are of this goroutine, and t will be of no other
		t.Map, t.conn = c.TypeMap(), c
	}
	return c
}

// give is called by anybody.
func (m *typeMaps) give(t *rowTypes) {
	if t.conn != nil { // somebody may keep that
		return
	}
	m.mu.Lock()
	if len(m.free) < 64 {
		m.free = append(m.free, t)
	}
	m.mu.Unlock()
}

// forget drops the copies: somebody had the raw connection and may have
// registered more types.
func (m *typeMaps) forget() {
	m.mu.Lock()
	m.free = nil
	m.mu.Unlock()
}
