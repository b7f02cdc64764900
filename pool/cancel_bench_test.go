package pool_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// From the end of a ctx until its caller is back, with so many at the same moment, beside
// a raw CancelRequest from as many goroutines. An iteration is one such moment.
func BenchmarkCancel(b *testing.B) {
	for _, n := range []int{1, 8, 32} {
		for _, how := range []string{"raw", "lmipool"} {
			b.Run(fmt.Sprintf("at once=%d/cancel=%s", n, how), func(b *testing.B) {
				dsn := pgtest.Database(b)
				see := newInspector(b, dsn)
				run := rawCancels(b, dsn, n)
				if how == "lmipool" {
					p := newPoolAt(b, dsn, &pool.Config{MaxConns: int32(n), CancelWait: patience, Lanes: pool.Off})
					run = poolCancels(p, n)
					defer func() { require.Zero(b, p.Stat().Cancels().Lost) }()
				}
				var took []time.Duration
				var all time.Duration
				for b.Loop() {
					began, each := run(func() {
						require.Eventually(b, func() bool { return see.running("select pg_sleep(30)%") == n }, 20*time.Second, time.Millisecond)
					})
					all += time.Since(began)
					took = append(took, each...)
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
				b.ReportMetric(float64(len(took))/all.Seconds(), "cancels/s")
			})
		}
	}
}

// rawCancels has n connections, and n goroutines that cancel what they run.
func rawCancels(b *testing.B, dsn string, n int) func(func()) (time.Time, []time.Duration) {
	ctx := context.Background()
	conns := make([]*pgx.Conn, n)
	for i := range conns {
		c, err := pgx.Connect(ctx, dsn)
		require.NoError(b, err)
		b.Cleanup(func() { c.Close(ctx) })
		conns[i] = c
	}
	return func(all func()) (began time.Time, took []time.Duration) {
		back := make([]time.Time, n)
		var wg sync.WaitGroup
		for i, c := range conns {
			wg.Go(func() { _, _ = c.Exec(ctx, "select pg_sleep(30)"); back[i] = time.Now() })
		}
		all()
		began = time.Now()
		for _, c := range conns {
			wg.Go(func() { _ = c.PgConn().CancelRequest(ctx) })
		}
		wg.Wait()
		return began, latencies(began, back)
	}
}

func poolCancels(p *pool.Pool, n int) func(func()) (time.Time, []time.Duration) {
	return func(all func()) (began time.Time, took []time.Duration) {
		back := make([]time.Time, n)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { _, _ = p.Exec(ctx, "select pg_sleep(30)"); back[i] = time.Now() })
		}
		all()
		began = time.Now()
		cancel()
		wg.Wait()
		return began, latencies(began, back)
	}
}

func latencies(began time.Time, back []time.Time) []time.Duration {
	took := make([]time.Duration, len(back))
	for i, t := range back {
		took[i] = t.Sub(began)
	}
	return took
}
