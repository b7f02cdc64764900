package lmiotel_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	lmiotel "github.com/lmipool/lmipool/otel"
)

// BenchmarkReads has 64 callers share two connections: without telemetry, with metrics, and with spans too, of which one in twenty is sampled or all are.
func BenchmarkReads(b *testing.B) {
	sampled := func(part float64) lmiotel.Option {
		return lmiotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithBatcher(tracetest.NewNoopExporter()), sdktrace.WithSampler(sdktrace.TraceIDRatioBased(part))))
	}
	for _, c := range []struct {
		name string
		opts []lmiotel.Option
	}{{"off", nil}, {"metrics", []lmiotel.Option{lmiotel.WithoutSpans()}}, {"sampled", []lmiotel.Option{sampled(0.05)}}, {"spans", []lmiotel.Option{sampled(1)}}} {
		b.Run("telemetry="+c.name, func(b *testing.B) {
			config, dsn := &lmipool.Config{MaxConns: 2, Logger: slog.New(slog.DiscardHandler)}, pgtest.Database(b)
			if c.opts != nil {
				meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
				telemetry, err := lmiotel.New(append(c.opts, lmiotel.WithConnString(dsn), lmiotel.WithMeterProvider(meters))...)
				require.NoError(b, err)
				config.Observers = []any{telemetry}
			}
			db, err := lmipool.Open(context.Background(), dsn, config)
			require.NoError(b, err)
			defer db.Close()
			_, err = db.Exec(context.Background(), "create table t as select i as id, 'name' as name from generate_series(1, 100) i")
			require.NoError(b, err)
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					var name string
					if err := db.QueryRow(context.Background(), "select name from t where id = $1", i%100+1).Scan(&name); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
