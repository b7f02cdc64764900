package memrows

import (
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
)

// codecs is a copy of a pgtype.Map that has codecs of its own where they have a state.
type codecs struct {
	*pgtype.Map
	base    *pgtype.Map // of which it is a copy
	adopted map[uint32]adopted
}

// adopted is a type with codecs of its own, if they have a state, and from what it was made.
type adopted struct{ from, own *pgtype.Type }

// codecsOf returns a copy of base.
func codecsOf(base *pgtype.Map) codecs {
	return codecs{Map: copyMap(base), base: base, adopted: make(map[uint32]adopted)}
}

// copyMap copies what is registered, and the wrappers that Copy forgets. What stays
// behind is RegisterDefaultPgType, for which there is registered.
func copyMap(src *pgtype.Map) *pgtype.Map {
	m := src.Copy()
	m.TryWrapEncodePlanFuncs = src.TryWrapEncodePlanFuncs
	m.TryWrapScanPlanFuncs = src.TryWrapScanPlanFuncs
	return m
}

// moveTo has m be what the copy was until now.
func (t *codecs) moveTo(m *pgtype.Map) {
	*m = *t.Map
	t.Map = m
}

// adoptOID adopts the base's type of oid, if it has one.
func (t *codecs) adoptOID(oid uint32) {
	if src, ok := t.base.TypeForOID(oid); ok {
		t.adopt(oid, src)
	}
}

// adopt makes src the type of oid, with codecs of its own, and has the types inside it
// have their own too.
func (t *codecs) adopt(oid uint32, src *pgtype.Type) {
	if a := t.adopted[oid]; a.from == src || a.own == src {
		return
	}
	own := t.ownType(src)
	t.adopted[oid] = adopted{src, own}
	if have, _ := t.TypeForOID(oid); have == own {
		return
	}
	t.RegisterType(own)
	anyInside(src.Codec, func(typ *pgtype.Type) bool {
		t.adoptInside(typ)
		return false
	})
}

// adoptInside is adopt for the type of a value inside another. It is decoded by what the
// Map has for its OID: that may have another name than typ, which is the outer one's.
func (t *codecs) adoptInside(typ *pgtype.Type) {
	if have, ok := t.TypeForOID(typ.OID); ok {
		typ = have
	}
	t.adopt(typ.OID, typ)
}

// anyInside reports whether f says yes to a type of which values of c have others inside. What is in a record only its value says.
func anyInside(c pgtype.Codec, f func(*pgtype.Type) bool) bool {
	switch c := c.(type) {
	case *pgtype.ArrayCodec:
		return f(c.ElementType)
	case *pgtype.RangeCodec:
		return f(c.ElementType)
	case *pgtype.MultirangeCodec:
		return f(c.ElementType)
	case *pgtype.CompositeCodec:
		return slices.ContainsFunc(c.Fields, func(field pgtype.CompositeCodecField) bool { return f(field.Type) })
	}
	return false
}

// ownType returns src with codecs of its own where codecs have a state; src itself if
// none has.
func (t *codecs) ownType(src *pgtype.Type) *pgtype.Type {
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
// from its value, so its codec belongs to one copy: t is nil for a type that is nobody's yet.
func (t *codecs) ownCodec(src pgtype.Codec) (own pgtype.Codec, ok bool) {
	switch c := src.(type) {
	case *pgtype.EnumCodec:
		return &pgtype.EnumCodec{}, true
	case pgtype.RecordCodec, *pgtype.RecordCodec:
		if t == nil {
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
