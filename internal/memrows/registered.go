package memrows

import (
	"reflect"

	"github.com/jackc/pgx/v5/pgtype"
)

// registered is what a connection's Map had registered at one moment.
type registered struct {
	base  *pgtype.Map // a copy of the connection's; nobody changes it
	given pgtype.Map  // the connection's by value; asked for given types only, see givenType
}

// registeredIn is called by who owns the connection of m.
func registeredIn(m *pgtype.Map) registered {
	base := copyMap(m)
	for _, oid := range userTypesOf(m) { // whoever copies base looks at its codecs, and the connection goes on using its own
		if src, ok := base.TypeForOID(oid); ok {
			if own := (*codecs)(nil).ownType(src); own != src {
				base.RegisterType(own)
			}
		}
	}
	for _, m := range []*pgtype.Map{m, base} {
		m.TypeForValue(nil) // has it make the table that givenType reads
	}
	return registered{base: base, given: *m}
}

// firstUserOID is the first OID of what is not built-in.
const firstUserOID = 16384

// userTypesOf are the OIDs of what is registered and not built-in. No method of a Map tells them.
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

// givenType is what RegisterDefaultPgType has said of v's Go type, or nothing, if that is what
// it says in any case. A Map's Copy leaves these behind, and no method tells them. But a Map
// makes a table of them when it is first asked for one, and a new table when something
// is registered later; so a Map that was copied by value and has its table can be asked at any time.
func (s *registered) givenType(v any) (*pgtype.Type, bool) {
	t, ok := s.given.TypeForValue(v)
	if !ok {
		return nil, false
	}
	if usual, ok := s.base.TypeForValue(v); ok && usual == t {
		return nil, false
	}
	return t, true
}

// planDepth is how deep pgx goes through a destination.
const planDepth = 8

// mayAskFor reports whether a value of type oid may be, or have in it, one of a type that
// is not known. What is in a record only its value says.
func (s *registered) mayAskFor(oid uint32, depth int) bool {
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
