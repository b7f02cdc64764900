package pool_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/pool"
)

// Texts that differ in their comments are one to the pool, so the first of each rides; the server gets each as it is written.
func TestCommentsMakeNoNewStatement(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"current_query"}})
	b.teach(ctx, "select current_query() || $1 /* any */", "x")
	b.teach(ctx, "/* any */select current_query() || $1", "x")
	n := 0
	for range 5 {
		var fs []func()
		for range 40 {
			n++
			sql := fmt.Sprintf("select current_query() || $1 /* traceparent='00-%d' */", n)
			if n%4 == 0 { // the same each time
				sql = "-- name: Mine :one\nselect current_query() || $1"
			}
			fs = append(fs, func() {
				var s string
				assert.NoError(t, b.scan(ctx, &s, sql, "x"))
				assert.Equal(t, sql+"x", s)
			})
		}
		b.together(ctx, fs...)
	}
	alone := b.p.Stat().Lanes().Alone
	assert.EqualValues(t, 2, alone["new"], "those that were taught: %v", alone)
	assert.GreaterOrEqual(t, b.p.Stat().Lanes().Rides, int64(150), "%v", alone)
}
