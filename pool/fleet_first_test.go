package pool_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// A pool whose first two connections are dialed at the same moment, and then held, still opens a third: the fleet is counted on one of the two.
func TestTwoFirstConnectionsAtOnceDoNotKeepTheThirdAway(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	for range 5 {
		var dials atomic.Int32
		both := make(chan struct{})
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, AfterConnect: func(ctx context.Context, _ *pgx.Conn) error {
			if dials.Add(1) == 2 {
				close(both)
			}
			<-both
			return nil
		}})
		var wg sync.WaitGroup
		var held [3]*pool.Lease
		for i := range held {
			wg.Go(func() {
				var err error
				held[i], err = p.Acquire(bounded(t))
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		for _, l := range held {
			if l != nil {
				l.Release()
			}
		}
		p.Close()
	}
}
