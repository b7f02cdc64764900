package pool

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// sameness is how alike the Go sides of two types are.
type sameness uint8

const (
	different sameness = iota
	alike              // they have codecs of the user's own, of one Go type: what is in those is not known
	equal              // they have the same contents
)

// typePairs knows pairs of types that were compared: connections that load their types have
// each its own of every one.
type typePairs struct {
	mu   sync.Mutex
	seen map[[2]*pgtype.Type]sameness
}

// maxPairs is when all are forgotten: there are as many as types and pairs of connections.
const maxPairs = 4096

// compare says how alike a and b are, by what is in them.
func (p *typePairs) compare(a, b *pgtype.Type) sameness {
	if a == b {
		return equal
	}
	pair := [2]*pgtype.Type{a, b}
	p.mu.Lock()
	s, ok := p.seen[pair]
	p.mu.Unlock()
	if ok {
		return s
	}
	s = compareTypes(a, b, 0)
	p.mu.Lock()
	if p.seen == nil || len(p.seen) >= maxPairs {
		p.seen = make(map[[2]*pgtype.Type]sameness)
	}
	p.seen[pair] = s
	p.mu.Unlock()
	return s
}

func compareTypes(a, b *pgtype.Type, depth int) sameness {
	switch {
	case a == b:
		return equal
	case a == nil || b == nil || a.OID != b.OID || a.Name != b.Name || depth > 32:
		return different
	}
	return compareCodecs(a.Codec, b.Codec, depth)
}

func compareCodecs(a, b pgtype.Codec, depth int) sameness {
	t := reflect.TypeOf(a)
	if t != reflect.TypeOf(b) {
		return different
	}
	switch a := a.(type) {
	case nil, *pgtype.EnumCodec, *pgtype.RecordCodec: // what an enum's has in it is a cache
		return equal
	case *pgtype.ArrayCodec:
		b := b.(*pgtype.ArrayCodec)
		if a.Delimiter != b.Delimiter {
			return different
		}
		return compareTypes(a.ElementType, b.ElementType, depth+1)
	case *pgtype.RangeCodec:
		return compareTypes(a.ElementType, b.(*pgtype.RangeCodec).ElementType, depth+1)
	case *pgtype.MultirangeCodec:
		return compareTypes(a.ElementType, b.(*pgtype.MultirangeCodec).ElementType, depth+1)
	case *pgtype.TextFormatOnlyCodec:
		return compareCodecs(a.Codec, b.(*pgtype.TextFormatOnlyCodec).Codec, depth+1)
	case *pgtype.CompositeCodec:
		s := equal
		if !slices.EqualFunc(a.Fields, b.(*pgtype.CompositeCodec).Fields, func(a, b pgtype.CompositeCodecField) bool {
			s = min(s, compareTypes(a.Type, b.Type, depth+1))
			return a.Name == b.Name && s > different
		}) {
			return different
		}
		return s
	case *pgtype.TimestampCodec:
		return compareLocations(a.ScanLocation, b.(*pgtype.TimestampCodec).ScanLocation)
	case *pgtype.TimestamptzCodec:
		return compareLocations(a.ScanLocation, b.(*pgtype.TimestamptzCodec).ScanLocation)
	}
	if reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() {
		switch {
		case a == b:
			return equal
		case t.Kind() != reflect.Pointer && !holdsPointer(t):
			return different
		}
	}
	return alike
}

// compareLocations goes by names: each connection may have loaded its own.
func compareLocations(a, b *time.Location) sameness {
	if a == b || a != nil && b != nil && a.String() == b.String() {
		return equal
	}
	return different
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
