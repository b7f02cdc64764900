package pool_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Reads that came before anything was known of their text ride once it is known. Each is counted once.
func TestReadsThatWaitRideOnceTheirTextIsKnown(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	release := b.hold(ctx)
	var wg sync.WaitGroup
	const n = 20
	for i := range n {
		b.queued(&wg, func() {
			var got int
			assert.NoError(t, b.scan(ctx, &got, "select $1::int8 + 1", i))
			assert.Equal(t, i+1, got)
		})
	}
	release()
	wg.Wait()
	s := b.p.Stat()
	assert.Less(t, s.Lanes().Alone["new"], int64(n/2), "one is enough to find out; a few more may be served before they are asked")
	total := s.Lanes().Rides
	for _, alone := range s.Lanes().Alone {
		total += alone
	}
	assert.EqualValues(t, n, total, "%v", s.Lanes().Alone)
}
