package memrows

import (
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Set has codecs of its own, since an EnumCodec changes when it decodes.
func TestTheTypesOfASetAreNotTheConnections(t *testing.T) {
	t.Parallel()
	m := pgtype.NewMap()
	enum := &pgtype.Type{Name: "mood", OID: firstUserOID + 1, Codec: &pgtype.EnumCodec{}}
	m.RegisterType(enum)
	m.RegisterType(&pgtype.Type{Name: "_mood", OID: firstUserOID + 2, Codec: &pgtype.ArrayCodec{ElementType: enum}})
	s := newSet(m, nil)
	for oid := enum.OID; oid <= enum.OID+1; oid++ {
		its, ok := m.TypeForOID(oid)
		require.True(t, ok)
		own, ok := s.base.TypeForOID(oid)
		require.True(t, ok)
		assert.NotSame(t, its.Codec, own.Codec)
	}
}
