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
	mu   sync.Mutex
	free []*rowTypes
}

// rowTypes is one copy, and from which of the connection's types its own were made.
type rowTypes struct {
	*pgtype.Map
	from map[uint32]*pgtype.Type
}

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
	return &rowTypes{Map: copyMap(src), from: map[uint32]*pgtype.Type{}}
}

// copyMap copies what is registered, and the wrappers that Copy forgets. What stays
// behind is RegisterDefaultPgType, which matters for encoding to unknown types.
func copyMap(src *pgtype.Map) *pgtype.Map {
	m := src.Copy()
	m.TryWrapEncodePlanFuncs = src.TryWrapEncodePlanFuncs
	m.TryWrapScanPlanFuncs = src.TryWrapScanPlanFuncs
	return m
}

// adopt makes src the type of oid, with codecs of its own, and so for the types inside
// it: a value inside another is decoded by what the Map has for it.
func (t *rowTypes) adopt(oid uint32, src *pgtype.Type) {
	if t.from[oid] == src {
		return
	}
	own := ownType(src)
	if have, _ := t.TypeForOID(oid); have == own {
		return
	}
	t.from[oid] = src
	t.RegisterType(own)
	switch c := src.Codec.(type) {
	case *pgtype.ArrayCodec:
		t.adopt(c.ElementType.OID, c.ElementType)
	case *pgtype.RangeCodec:
		t.adopt(c.ElementType.OID, c.ElementType)
	case *pgtype.MultirangeCodec:
		t.adopt(c.ElementType.OID, c.ElementType)
	case *pgtype.CompositeCodec:
		for _, f := range c.Fields {
			t.adopt(f.Type.OID, f.Type)
		}
	}
}

// ownType returns t with codecs of its own where codecs have a state: EnumCodec
// caches what it decodes in a map. t itself if there is none.
func ownType(t *pgtype.Type) *pgtype.Type {
	own := *t
	switch c := t.Codec.(type) {
	case *pgtype.EnumCodec:
		own.Codec = &pgtype.EnumCodec{}
	case *pgtype.ArrayCodec:
		e := ownType(c.ElementType)
		if e == c.ElementType {
			return t
		}
		own.Codec = &pgtype.ArrayCodec{ElementType: e}
	case *pgtype.RangeCodec:
		e := ownType(c.ElementType)
		if e == c.ElementType {
			return t
		}
		own.Codec = &pgtype.RangeCodec{ElementType: e}
	case *pgtype.MultirangeCodec:
		e := ownType(c.ElementType)
		if e == c.ElementType {
			return t
		}
		own.Codec = &pgtype.MultirangeCodec{ElementType: e}
	case *pgtype.CompositeCodec:
		fields, changed := slices.Clone(c.Fields), false
		for i, f := range fields {
			fields[i].Type = ownType(f.Type)
			changed = changed || fields[i].Type != f.Type
		}
		if !changed {
			return t
		}
		own.Codec = &pgtype.CompositeCodec{Fields: fields}
	default:
		return t
	}
	return &own
}

// give is called by anybody.
func (m *typeMaps) give(t *rowTypes) {
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
