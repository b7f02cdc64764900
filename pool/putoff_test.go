package pool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// After a cold start nobody waits for the questions about the first texts: they are asked when the connection is idle.
func TestNoCallWaitsForALook(t *testing.T) {
	t.Parallel()
	for conns := range int32(2) {
		t.Run(fmt.Sprint(conns+1), func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			p := newPoolAt(t, pgtest.Database(t), &pool.Config{MaxConns: conns + 1, FleetBudget: -1})
			p.LooksAtOnce(false)
			text := func(i int) string { return fmt.Sprintf("select q.c%[1]d from (select $1::int as c%[1]d) q", i) } // a c1(q) may exist, so the server is asked
			call := func(i int) {
				var n int
				assert.NoError(t, p.QueryRow(ctx, text(i), 1259).Scan(&n))
			}
			call(0) // waits for the first connection
			before := p.Stat().EmptyAcquireCount()
			for i := range 100 {
				if i%10 == 0 {
					time.Sleep(time.Millisecond)
				}
				call(i)
			}
			assert.Less(t, p.Stat().EmptyAcquireCount()-before, int64(25), "a busy machine makes some pauses, in which a reset is sent alone or a look begins")
			eventually(t, "an idle connection asks", func() bool { return p.IsJudged(text(99)) })
		})
	}
}
