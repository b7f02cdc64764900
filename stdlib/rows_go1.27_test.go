//go:build go1.27

package stdlib_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// As of Go 1.27 pgx's types are scanned without an adapter.
func TestPgxsTypesAreScanned(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	const read = "select array[1, 2], int4range(1, 5), 'x', null::int[], 7 from generate_series(1, 3)"
	l.teach(read)
	rows, err := l.db.Query(read)
	require.NoError(t, err)
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var a, null []int64
		var span pgtype.Range[pgtype.Int4]
		var s *string
		var i int
		require.NoError(t, rows.Scan(&a, &span, &s, &null, &i))
		assert.Equal(t, []int64{1, 2}, a)
		assert.EqualValues(t, 5, span.Upper.Int32)
		assert.Equal(t, "x", *s)
		assert.Nil(t, null)
		assert.Equal(t, 7, i)
	}
	require.NoError(t, rows.Err())
	assert.Equal(t, 3, n)
}
