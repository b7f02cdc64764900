package main

import (
	"os"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/lmipool/lmipool"
)

func TestTheHandlerIsSeen(t *testing.T) {
	dsn := os.Getenv("DATABASE_URL")
	if dsn == "" {
		t.Skip("DATABASE_URL is not set: it names a PostgreSQL database")
	}
	metrics, spans := metric.NewManualReader(), tracetest.NewSpanRecorder()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(metrics)))
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans)))
	db, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, parent := otel.Tracer("test").Start(t.Context(), "invocation")
	if got, err := lmipool.Handler(db, Handler(db))(ctx, 7); err != nil || got != 49 {
		t.Fatalf("got %d, %v, want 49", got, err)
	}
	children := 0
	for _, s := range spans.Ended() {
		if s.Parent().SpanID() == parent.SpanContext().SpanID() {
			children++
		}
	}
	if children == 0 {
		t.Error("the statement has no span below the invocation's")
	}
	var all metricdata.ResourceMetrics
	if err := metrics.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			names[m.Name] = true
		}
	}
	for _, name := range []string{"db.client.operation.duration", "db.client.connection.count"} {
		if !names[name] {
			t.Errorf("there is no metric %s in %v", name, names)
		}
	}
}
