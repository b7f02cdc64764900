package memrows

import (
	"reflect"

	"github.com/jackc/pgx/v5/pgtype"
)

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

// askFor registers what is given for dest, the destinations of one row. If the connection does not know a column's type, for example an enum that
// nobody has loaded, pgx goes by the destination.
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
