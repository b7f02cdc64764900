package memrows

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func columns(oids ...uint32) (fields []pgconn.FieldDescription) {
	for _, oid := range oids {
		fields = append(fields, pgconn.FieldDescription{Name: "c", DataTypeOID: oid, Format: pgx.TextFormatCode})
	}
	return fields
}

func resultOf(fields []pgconn.FieldDescription, rows ...[][]byte) *Result {
	r := &Result{}
	for _, row := range rows {
		r.add(row)
	}
	r.End(fields, nil)
	return r
}

func TestAResultKeepsNullAndEmptyApart(t *testing.T) {
	t.Parallel()
	s := newSet(pgtype.NewMap(), nil)
	r := resultOf(columns(pgtype.TextOID, pgtype.TextOID), [][]byte{{}, nil}, [][]byte{nil, []byte("b")}, [][]byte{nil, {}})
	assert.Equal(t, [][]byte{{}, nil}, r.First())
	assert.Equal(t, [][]byte{{}}, resultOf(columns(pgtype.TextOID), [][]byte{{}}).First())
	got, err := pgx.CollectRows(r.Rows(s), func(row pgx.CollectableRow) ([2]*string, error) {
		var v [2]*string
		return v, row.Scan(&v[0], &v[1])
	})
	require.NoError(t, err)
	empty, b := "", "b"
	assert.Equal(t, [][2]*string{{&empty, nil}, {nil, &b}, {nil, &empty}}, got)
}

func TestAResultMayHaveRowsWithoutColumns(t *testing.T) {
	t.Parallel()
	rows := resultOf(nil, nil, nil).Rows(newSet(pgtype.NewMap(), nil))
	n := 0
	for ; rows.Next(); n++ {
		assert.NoError(t, rows.Scan())
	}
	assert.Equal(t, 2, n)
}

func TestRowsThatAreOverSayWhy(t *testing.T) {
	t.Parallel()
	failed := errors.New("no")
	none := FailedRows(failed)
	rows := resultOf(columns(pgtype.Int4OID), [][]byte{[]byte("x")}, [][]byte{[]byte("2")}).Rows(newSet(pgtype.NewMap(), func() *pgx.Conn { return &pgx.Conn{} }))
	require.True(t, rows.Next())
	assert.NoError(t, rows.Err())
	assert.NotNil(t, rows.TypeMap())
	var n int
	notANumber := rows.Scan(&n)
	require.Error(t, notANumber)
	assert.NotNil(t, rows.Conn())
	for r, want := range map[*Rows]error{none: failed, rows: notANumber} {
		assert.Equal(t, want, r.Err())
		assert.Equal(t, want, r.Scan(&n))
		_, err := r.Values()
		assert.Equal(t, want, err)
		assert.False(t, r.Next())
		assert.Nil(t, r.RawValues())
		assert.Nil(t, r.TypeMap())
		r.Close()
	}
	assert.Nil(t, none.Conn())
	assert.Empty(t, none.FieldDescriptions())
	assert.Empty(t, none.CommandTag())
	closed := resultOf(columns(pgtype.Int4OID), [][]byte{[]byte("1")}).Rows(newSet(pgtype.NewMap(), nil))
	closed.Close()
	assert.NoError(t, closed.Err())
	assert.ErrorIs(t, closed.Scan(&n), ErrClosed)
}

func TestAResultThatIsTooLargeHasNoRowsButItsSize(t *testing.T) {
	t.Parallel()
	large := make([]byte, MaxResult/2)
	r := resultOf(columns(pgtype.ByteaOID), [][]byte{large}, [][]byte{large}, [][]byte{large})
	assert.Greater(t, r.Size(), 3*len(large))
	assert.Nil(t, r.First())
	failed, size := errors.New("too large"), r.Size()
	r.Fail(failed)
	assert.Equal(t, size, r.Size())
	assert.Equal(t, failed, r.Err())
}

func TestARowIsScannedOnceAndItsBatchKeepsTheFirstError(t *testing.T) {
	t.Parallel()
	s := newSet(pgtype.NewMap(), nil)
	var first error
	for _, text := range []string{"one", "two", "3"} {
		w := resultOf(columns(pgtype.Int4OID), [][]byte{[]byte(text)}).Row(s)
		w.OnScanError(&first)
		var n int
		err := w.Scan(&n)
		if text == "3" {
			require.NoError(t, err)
			assert.ErrorIs(t, w.Scan(&n), pgx.ErrNoRows)
			break
		}
		assert.ErrorContains(t, first, "one")
		assert.ErrorContains(t, w.Scan(&n), text)
	}
	assert.ErrorIs(t, Failed(pgx.ErrTxClosed).Scan(nil), pgx.ErrTxClosed)
}

func TestCopiesOfAMapAreUsedAgainUnlessSomebodyMayKeepThem(t *testing.T) {
	t.Parallel()
	fields := columns(pgtype.TextOID)
	s := newSet(pgtype.NewMap(), nil)
	a := s.take(fields)
	b := s.take(fields)
	require.NotSame(t, a, b)
	a.give()
	require.Same(t, a, s.take(fields))
	b.conn = &pgx.Conn{}
	b.give()
	require.NotSame(t, b, s.take(fields))
}

func TestTypesAreEqualWhenTheirContentsAre(t *testing.T) {
	t.Parallel()
	const oid = firstUserOID + 1
	of := func(codec pgtype.Codec) *Set {
		m := pgtype.NewMap()
		if codec != nil {
			m.RegisterType(&pgtype.Type{Name: "t", OID: oid, Codec: codec})
		}
		return newSet(m, nil)
	}
	text, _ := pgtype.NewMap().TypeForOID(pgtype.TextOID)
	composite := func(name string) pgtype.Codec {
		return &pgtype.CompositeCodec{Fields: []pgtype.CompositeCodecField{{Name: name, Type: text}}}
	}
	var p Pairs
	for range 2 { // the second time Pairs knows the result
		assert.Equal(t, Equal, p.Compare(of(nil), of(nil), oid))
		assert.Equal(t, Different, p.Compare(of(nil), of(&pgtype.EnumCodec{}), oid))
		assert.Equal(t, Equal, p.Compare(of(&pgtype.EnumCodec{}), of(&pgtype.EnumCodec{}), oid))
		assert.Equal(t, Equal, p.Compare(of(composite("a")), of(composite("a")), oid))
		assert.Equal(t, Different, p.Compare(of(composite("a")), of(composite("b")), oid))
		assert.Equal(t, Alike, p.Compare(of(&theirs{n: 1}), of(&theirs{n: 1}), oid))
	}
}

// theirs is a user's own codec that keeps a state.
type theirs struct {
	pgtype.TextCodec
	n int
}
