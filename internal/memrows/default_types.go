package memrows

import (
	"reflect"

	"github.com/jackc/pgx/v5/pgtype"
)

// givenType is what RegisterDefaultPgType has said of v's Go type; nil, if that is what it says in any case. A Map's Copy leaves
// these behind, and no method tells them. But a Map makes a table of them when it is first asked for one, and a new table when
// something is registered later; so a Map that was copied by value and has its table can be asked at any time.
func (s *Set) givenType(v any) *pgtype.Type {
	given, _ := s.given.TypeForValue(v)
	if usual, _ := s.base.TypeForValue(v); usual == given {
		return nil
	}
	return given
}

// planDepth is how deep pgx goes through a destination.
const planDepth = 8

// mayAskFor reports whether a value of type oid may be, or have in it, one of a type that is not known. What is in a record only its
// value says.
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

// askFor asks what is given for dest, the destinations of one row. A column's type may be one that the connection does not know: an
// enum that nobody has loaded, say. Then pgx goes by the destination, and by what RegisterDefaultPgType has said of it, which copies
// of a Map have lost.
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

// askForType asks for typ and for what is in it: that is how pgx goes through a destination. A type that
// was asked for deep inside another, or by tryGiven alone, may have more in it than was asked for then.
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

// register has t give v's Go type the type that the connection gives it. It reports whether that was new.
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

// tryGiven is for destinations that only the plan of another leads to, such as those of a wrapper of the user's: the first wrapper
// that pgx tries when it has no plan. If there is something new to know, it has pgx plan once more.
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

// samePlan is the next plan.
type samePlan struct{ next pgtype.ScanPlan }

func (p *samePlan) SetNext(next pgtype.ScanPlan)      { p.next = next }
func (p *samePlan) Scan(src []byte, target any) error { return p.next.Scan(src, target) }
