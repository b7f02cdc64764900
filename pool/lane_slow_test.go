package pool_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/pool"
)

// What usually takes longer than 10 ms has a connection to itself, so that nobody
// waits behind it.
func TestASlowReadDoesNotRide(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"pg_sleep"}})
	b.p.SlowAbove(50e6)
	const sql = "select $2::text from pg_sleep($1)"
	b.teach(ctx, sql, 0.3, "taught")
	b.teach(ctx, sql, 0.3, "taught")
	before := b.p.Stat().Lanes().Alone["slow"]
	b.together(ctx, func() { assert.NoError(t, b.scan(ctx, new(string), sql, 0.3, "")) },
		func() { assert.NoError(t, b.scan(ctx, new(string), sql, 0.3, "")) })
	assert.EqualValues(t, before+2, b.p.Stat().Lanes().Alone["slow"])
	assert.Zero(t, b.p.Stat().Lanes().Rides)
}

// A result that is too large is dropped while it drains; the read runs alone, now
// and from then on.
func TestALargeResultIsDroppedAndRunsAlone(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	const sql = "select repeat('x', $1) from generate_series(1, 10)"
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, sql, 1)
	large := func() {
		rows, err := b.p.Query(ctx, sql, 100_000)
		assert.NoError(t, err)
		n := 0
		for rows.Next() {
			n += len(rows.RawValues()[0])
		}
		assert.NoError(t, rows.Err())
		assert.Equal(t, 1_000_000, n)
	}
	b.together(ctx, b.company(ctx), large, b.company(ctx))
	assert.EqualValues(t, 1, b.p.Stat().Lanes().Reruns)
	assert.EqualValues(t, 3, b.p.Stat().Lanes().Rides)
	b.together(ctx, b.company(ctx), large, b.company(ctx))
	assert.EqualValues(t, 1, b.p.Stat().Lanes().Alone["large"])
}
