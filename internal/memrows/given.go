package memrows

import (
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// destinations is a copy of a Map that asks what is given for the destinations of its rows.
//
// A column's type may be one that the connection does not know: an enum that nobody has
// loaded, say. Then pgx goes by the destination, and by what RegisterDefaultPgType has said of
// it. Copies of a Map have lost that, so they ask for it again, when a destination turns up.
type destinations struct {
	codecs
	from  *registered
	asked map[reflect.Type]int // from has been asked what is given for it, and for what is in it, so many levels deep
	loose bool                 // the row has what may depend on what is given for a destination
}

// copyOf makes t a copy of from.
func (t *destinations) copyOf(from *registered) {
	t.codecs, t.from, t.asked = codecsOf(from.base), from, make(map[reflect.Type]int)
	t.TryWrapScanPlanFuncs = slices.Insert(slices.Clone(t.TryWrapScanPlanFuncs), 0, t.tryGiven)
}

// expect makes t fit rows of fields.
func (t *destinations) expect(fields []pgconn.FieldDescription) {
	t.loose = false
	for i := range fields {
		oid := fields[i].DataTypeOID
		t.adoptOID(oid)
		t.loose = t.loose || t.from.mayAskFor(oid, 0)
	}
}

// askFor asks what is given for dest, the destinations of one row.
func (t *destinations) askFor(dest []any) {
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
func (t *destinations) askForType(typ reflect.Type, depth int) {
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

// register has t give v's Go type the type that the connection gives it. It reports whether
// that was new.
func (t *destinations) register(v any) bool {
	typ, ok := t.from.givenType(v)
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
func (t *destinations) tryGiven(target any) (pgtype.WrappedScanPlanNextSetter, any, bool) {
	typ := reflect.TypeOf(target)
	if _, ok := t.asked[typ]; ok {
		return nil, nil, false
	}
	t.asked[typ] = 0
	if !t.register(target) {
		return nil, nil, false
	}
	return &samePlan{}, target, true
}

// samePlan is the next plan.
type samePlan struct{ next pgtype.ScanPlan }

func (p *samePlan) SetNext(next pgtype.ScanPlan)      { p.next = next }
func (p *samePlan) Scan(src []byte, target any) error { return p.next.Scan(src, target) }
