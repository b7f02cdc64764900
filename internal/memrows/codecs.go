package memrows

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// adopted is a type that a mapCopy has, and the type from which it was made.
type adopted struct{ from, own *pgtype.Type }

// copyMap returns a copy of src with its registered types, and with its wrappers, which Map.Copy forgets. For RegisterDefaultPgType see register.
func copyMap(src *pgtype.Map) *pgtype.Map {
	m := src.Copy()
	m.TryWrapEncodePlanFuncs = src.TryWrapEncodePlanFuncs
	m.TryWrapScanPlanFuncs = src.TryWrapScanPlanFuncs
	return m
}

// firstUserOID is the first OID of a type that is not built-in.
const firstUserOID = 16384

// userTypesOf returns the OIDs of the types that are registered in m and not built-in. A Map has no method that lists them.
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

// adoptOID adopts the base's type of oid, if it has one.
func (t *mapCopy) adoptOID(oid uint32) {
	if src, ok := t.set.base.TypeForOID(oid); ok {
		t.adopt(oid, src)
	}
}

// adopt makes src the type of oid, with codecs of its own, and does the same for the types inside src. A value inside another is decoded with the
// type that the Map has for its OID, which may have another name than in src.
func (t *mapCopy) adopt(oid uint32, src *pgtype.Type) {
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
		if have, ok := t.TypeForOID(typ.OID); ok {
			typ = have
		}
		t.adopt(typ.OID, typ)
		return false
	})
}

// anyInside reports whether f returns true for a type of values that are inside values of c. The types inside a record are known only from its value.
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

// ownType returns src with codecs of its own where codecs have a state, or src itself if none has. t is nil for a type that belongs to no copy.
func (t *mapCopy) ownType(src *pgtype.Type) *pgtype.Type {
	c, ok := t.ownCodec(src.Codec)
	if !ok {
		return src
	}
	own := *src
	own.Codec = c
	return &own
}

// ownCodec returns a codec that does what src does, and true, if src or one inside it has a state: EnumCodec caches what it decodes in a Go map,
// and a record's codec looks for the types inside each value in the copy that it belongs to.
func (t *mapCopy) ownCodec(src pgtype.Codec) (own pgtype.Codec, ok bool) {
	switch c := src.(type) {
	case *pgtype.EnumCodec:
		return &pgtype.EnumCodec{}, true
	case pgtype.RecordCodec, *pgtype.RecordCodec:
		if t != nil {
			return recordCodec{types: t}, true
		}
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

// recordCodec decodes anonymous records, which row(…) makes, with the types in the field types. Only the record itself tells which types are inside.
type recordCodec struct {
	pgtype.RecordCodec
	types *mapCopy
}

// adopt makes c.types adopt the types of the values inside record.
func (c recordCodec) adopt(m *pgtype.Map, format int16, record []byte) {
	if m != c.types.Map || format != pgtype.BinaryFormatCode || record == nil { // another m is a copy that a user has made of ours
		return
	}
	for s := pgtype.NewCompositeBinaryScanner(m, record); s.Next(); {
		if t, ok := m.TypeForOID(s.OID()); ok {
			c.types.adopt(s.OID(), t)
		}
	}
}

func (c recordCodec) DecodeValue(m *pgtype.Map, oid uint32, format int16, src []byte) (any, error) {
	c.adopt(m, format, src)
	return c.RecordCodec.DecodeValue(m, oid, format, src)
}

func (c recordCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	next := c.RecordCodec.PlanScan(m, oid, format, target)
	if next == nil {
		return nil
	}
	return &recordPlan{codec: c, m: m, format: format, next: next}
}

// recordPlan scans a record into a destination that takes its values one by one.
type recordPlan struct {
	codec  recordCodec
	m      *pgtype.Map
	format int16
	next   pgtype.ScanPlan
}

func (p *recordPlan) Scan(src []byte, target any) error {
	p.codec.adopt(p.m, p.format, src)
	return p.next.Scan(src, target)
}

// Sameness is how alike the Go sides of two types are.
type Sameness uint8

const (
	Different Sameness = iota
	Alike              // both have a codec of the same Go type, written by the user, whose contents cannot be compared
	Equal              // they have the same contents
)

// Pairs remembers how types compared, since each connection that loads its types has its own *pgtype.Type for each of them.
type Pairs struct {
	mu   sync.Mutex
	seen map[[2]*pgtype.Type]Sameness
}

// maxPairs bounds what Pairs remembers: there can be a pair for each type and any two connections. When the bound is reached, all pairs are forgotten.
const maxPairs = 4096

// Compare returns how alike the types of s and t for oid are. If neither s nor t has a type for oid, Compare returns Equal.
func (p *Pairs) Compare(s, t *Set, oid uint32) Sameness {
	a, _ := s.base.TypeForOID(oid)
	b, _ := t.base.TypeForOID(oid)
	if a == nil || b == nil || a == b {
		return compareTypes(a, b, 0)
	}
	pair := [2]*pgtype.Type{a, b}
	p.mu.Lock()
	is, ok := p.seen[pair]
	p.mu.Unlock()
	if ok {
		return is
	}
	is = compareTypes(a, b, 0)
	p.mu.Lock()
	if p.seen == nil || len(p.seen) >= maxPairs {
		p.seen = make(map[[2]*pgtype.Type]Sameness)
	}
	p.seen[pair] = is
	p.mu.Unlock()
	return is
}

func compareTypes(a, b *pgtype.Type, depth int) Sameness {
	switch {
	case a == b:
		return Equal
	case a == nil || b == nil || a.OID != b.OID || a.Name != b.Name || depth > 32:
		return Different
	}
	return compareCodecs(a.Codec, b.Codec, depth)
}

func compareCodecs(a, b pgtype.Codec, depth int) Sameness {
	t := reflect.TypeOf(a)
	if t != reflect.TypeOf(b) {
		return Different
	}
	switch a := a.(type) {
	case nil, *pgtype.EnumCodec, *pgtype.RecordCodec: // all that an EnumCodec has is a cache
		return Equal
	case *pgtype.ArrayCodec:
		b := b.(*pgtype.ArrayCodec)
		if a.Delimiter != b.Delimiter {
			return Different
		}
		return compareTypes(a.ElementType, b.ElementType, depth+1)
	case *pgtype.RangeCodec:
		return compareTypes(a.ElementType, b.(*pgtype.RangeCodec).ElementType, depth+1)
	case *pgtype.MultirangeCodec:
		return compareTypes(a.ElementType, b.(*pgtype.MultirangeCodec).ElementType, depth+1)
	case *pgtype.TextFormatOnlyCodec:
		return compareCodecs(a.Codec, b.(*pgtype.TextFormatOnlyCodec).Codec, depth+1)
	case *pgtype.CompositeCodec:
		s := Equal
		if !slices.EqualFunc(a.Fields, b.(*pgtype.CompositeCodec).Fields, func(a, b pgtype.CompositeCodecField) bool {
			s = min(s, compareTypes(a.Type, b.Type, depth+1))
			return a.Name == b.Name && s > Different
		}) {
			return Different
		}
		return s
	case *pgtype.TimestampCodec:
		return compareLocations(a.ScanLocation, b.(*pgtype.TimestampCodec).ScanLocation)
	case *pgtype.TimestamptzCodec:
		return compareLocations(a.ScanLocation, b.(*pgtype.TimestamptzCodec).ScanLocation)
	}
	switch can := reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable(); {
	case can && a == b:
		return Equal
	case can && !holdsPointer(t):
		return Different
	}
	return Alike
}

// compareLocations compares names: each connection may have loaded its own Location.
func compareLocations(a, b *time.Location) Sameness {
	if a == b || a != nil && b != nil && a.String() == b.String() {
		return Equal
	}
	return Different
}

// holdsPointer reports whether values of t that are not == may have the same contents.
func holdsPointer(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	case reflect.Array:
		return holdsPointer(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsPointer(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}
