package lmiotel_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/emf"
	"github.com/lmipool/lmipool/internal/pgtest"
	lmiotel "github.com/lmipool/lmipool/otel"
	"github.com/lmipool/lmipool/status"
)

// TestWhatTelemetryCosts prints the throughput of 64 callers on 2 connections with everything on, as a part of that without: EMF, the status page, and
// OpenTelemetry's metrics and spans. Each caller has a span, as an invocation has, of which one in twenty is sampled; they have it on both sides. The two
// sides take turns. LMIPOOL_TEST_PAIRS=21 says how many turns. It also prints what one read allocates on either side.
func TestWhatTelemetryCosts(t *testing.T) {
	pairs, err := strconv.Atoi(os.Getenv("LMIPOOL_TEST_PAIRS"))
	if err != nil {
		t.Skip("set LMIPOOL_TEST_PAIRS=21")
	}
	dsn := pgtest.Database(t)
	open := func(observers ...any) *lmipool.Pool {
		db, err := lmipool.Open(context.Background(), dsn, &lmipool.Config{MaxConns: 2, Observers: observers, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(db.Close)
		return db
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(tracetest.NewNoopExporter()), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.05))))
	telemetry, err := lmiotel.New(lmiotel.WithConnString(dsn), lmiotel.WithTracerProvider(tracers),
		lmiotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
	require.NoError(t, err)
	reporter, err := emf.New(emf.Options{Writer: io.Discard})
	require.NoError(t, err)
	page := status.New(status.Options{})
	off := open()
	all := open(telemetry, reporter, page)
	page.Watch(all)
	_, err = off.Exec(context.Background(), "create table t as select i as id, 'name' as name from generate_series(1, 100) i")
	require.NoError(t, err)
	allocs := map[*lmipool.Pool]float64{}
	perSecond := func(db *lmipool.Pool, during time.Duration) float64 {
		var n atomic.Int64
		var wg sync.WaitGroup
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		end := time.Now().Add(during)
		for g := range 64 {
			wg.Go(func() {
				for i := g; time.Now().Before(end); i++ {
					ctx, invocation := tracers.Tracer("test").Start(context.Background(), "invocation")
					for range 10 {
						var name string
						if err := db.QueryRow(ctx, "select name from t where id = $1", i%100+1).Scan(&name); err != nil {
							t.Error(err)
							return
						}
						n.Add(1)
					}
					invocation.End()
				}
			})
		}
		wg.Wait()
		runtime.ReadMemStats(&after)
		allocs[db] = float64(after.Mallocs-before.Mallocs) / float64(n.Load())
		return float64(n.Load()) / during.Seconds()
	}
	perSecond(off, time.Second)
	perSecond(all, time.Second)
	var ratios []float64
	for i := range pairs {
		a, b := off, all
		if i%2 == 1 {
			a, b = b, a
		}
		x, y := perSecond(a, time.Second), perSecond(b, time.Second)
		if i%2 == 1 {
			x, y = y, x
		}
		ratios = append(ratios, y/x)
	}
	slices.Sort(ratios)
	t.Logf("everything on, as a part of the throughput with nothing on: median %.3f, quartiles %.3f to %.3f, %d pairs of 1 s; %.1f allocations a read in place of %.1f",
		ratios[pairs/2], ratios[pairs/4], ratios[pairs*3/4], pairs, allocs[all], allocs[off])
}
