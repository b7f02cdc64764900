package pool

import (
	"reflect"

	"github.com/jackc/pgx/v5/pgtype"
)

// A column's type may be one that the connection does not know: an enum that nobody has
// loaded, say. Then pgx goes by the destination, and by what RegisterDefaultPgType has said of
// it. Copies of a Map have lost that, so they ask for it again, when a destination turns up.

// know has t know what is given for dest, the destinations of one row.
func (t *rowTypes) know(dest []any) {
	if !t.loose {
		return
	}
	for _, d := range dest {
		if d != nil {
			t.knowType(reflect.TypeOf(d), 0)
		}
	}
}

// mayAskFor reports whether a value of type oid may be, or have in it, one of a type that
// is not known. What is in a record only its value says.
func (s *typeSet) mayAskFor(oid uint32, depth int) bool {
	typ, ok := s.base.TypeForOID(oid)
	if !ok || depth > planDepth {
		return true
	}
	switch c := typ.Codec.(type) {
	case pgtype.RecordCodec, *pgtype.RecordCodec:
		return true
	case *pgtype.ArrayCodec:
		return s.mayAskFor(c.ElementType.OID, depth+1)
	case *pgtype.RangeCodec:
		return s.mayAskFor(c.ElementType.OID, depth+1)
	case *pgtype.MultirangeCodec:
		return s.mayAskFor(c.ElementType.OID, depth+1)
	case *pgtype.CompositeCodec:
		for _, f := range c.Fields {
			if s.mayAskFor(f.Type.OID, depth+1) {
				return true
			}
		}
	}
	return false
}

// planDepth is how deep pgx goes through a destination.
const planDepth = 8

// knowType asks for typ and for what is in it: that is how pgx goes through a destination. A type that
// was asked for deep inside another, or by tryGiven alone, may have more in it than was asked for then.
func (t *rowTypes) knowType(typ reflect.Type, depth int) {
	if below, ok := t.asked[typ]; depth > planDepth || ok && below >= planDepth-depth {
		return
	}
	t.asked[typ] = planDepth - depth
	t.learn(reflect.Zero(typ).Interface())
	switch typ.Kind() {
	case reflect.Pointer:
		t.knowType(typ.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		t.knowType(reflect.PointerTo(typ.Elem()), depth+1)
	case reflect.Struct:
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() {
				t.knowType(reflect.PointerTo(f.Type), depth+1)
			}
		}
	}
}

// learn has t give v's Go type the type that the connection gives it. It reports whether
// that was new.
func (t *rowTypes) learn(v any) bool {
	typ, ok := t.set.givenType(v)
	if !ok {
		return false
	}
	if have, ok := t.TypeForValue(v); ok && (have == typ || t.adopted[typ.OID].own == have) {
		return false
	}
	t.adopt(typ.OID, typ)
	t.RegisterDefaultPgType(v, typ.Name)
	return true
}

// tryGiven is for destinations that only the plan of another leads to, such as those of a
// wrapper of the user's: the first wrapper that pgx tries when it has no plan. If there is
// something new to know, it has pgx plan once more.
func (t *rowTypes) tryGiven(target any) (pgtype.WrappedScanPlanNextSetter, any, bool) {
	typ := reflect.TypeOf(target)
	if _, ok := t.asked[typ]; ok {
		return nil, nil, false
	}
	t.asked[typ] = 0
	if !t.learn(target) {
		return nil, nil, false
	}
	return &samePlan{}, target, true
}

// samePlan is the next plan.
type samePlan struct{ next pgtype.ScanPlan }

func (p *samePlan) SetNext(next pgtype.ScanPlan)      { p.next = next }
func (p *samePlan) Scan(src []byte, target any) error { return p.next.Scan(src, target) }
