// Command otel is a function whose pool gives OpenTelemetry its metrics and spans.
package main

import (
	"context"
	"log"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/lmipool/lmipool"
	lmiotel "github.com/lmipool/lmipool/otel"
)

// Open opens the pool, which reports to the global providers. Set those first.
func Open(ctx context.Context, dsn string) (*lmipool.Pool, error) {
	telemetry, err := lmiotel.New(lmiotel.WithConnString(dsn))
	if err != nil {
		return nil, err
	}
	db, err := lmipool.Open(ctx, dsn, &lmipool.Config{Observers: []any{telemetry}})
	if err != nil {
		return nil, err
	}
	// Watch adds what is read from the pool whenever metrics are collected, such as the number of connections.
	if _, err := telemetry.Watch(db); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// Handler returns the handler. The span of its statement is a child of the span in ctx.
func Handler(db lmipool.DB) func(context.Context, int) (int, error) {
	return func(ctx context.Context, n int) (square int, err error) {
		err = db.QueryRow(ctx, "select $1::int * $1::int", n).Scan(&square)
		return square, err
	}
}

func main() {
	// Stdout is the function's log. An exporter of OTLP to a collector takes its place in the same way.
	metrics, err := stdoutmetric.New()
	if err != nil {
		log.Fatal(err)
	}
	spans, err := stdouttrace.New()
	if err != nil {
		log.Fatal(err)
	}
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(metric.NewPeriodicReader(metrics))))
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithBatcher(spans)))
	db, err := Open(context.Background(), "")
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Handler(db))
}
