package memrows

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

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
