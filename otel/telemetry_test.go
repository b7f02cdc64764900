package lmiotel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lmitest"
	lmiotel "github.com/lmipool/lmipool/otel"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// lab is a pool with a Telemetry, and what that has told.
type lab struct {
	db      *lmipool.Pool
	metrics *sdkmetric.ManualReader
	spans   *tracetest.InMemoryExporter
	tracers *sdktrace.TracerProvider
	dsn     string
}

func newLab(t *testing.T, config *lmipool.Config, opts ...lmiotel.Option) *lab {
	t.Helper()
	l := &lab{metrics: sdkmetric.NewManualReader(), spans: tracetest.NewInMemoryExporter(), dsn: pgtest.Database(t)}
	l.tracers = sdktrace.NewTracerProvider(sdktrace.WithSyncer(l.spans), sdktrace.WithSampler(sdktrace.AlwaysSample())) // lmitest does not sample
	telemetry, err := lmiotel.New(append([]lmiotel.Option{
		lmiotel.WithConnString(l.dsn), lmiotel.WithTracerProvider(l.tracers), lmiotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(l.metrics))),
	}, opts...)...)
	require.NoError(t, err)
	config.Observers = []any{telemetry}
	l.db, err = lmipool.Open(t.Context(), l.dsn, config)
	require.NoError(t, err)
	t.Cleanup(l.db.Close)
	_, err = telemetry.Watch(l.db)
	require.NoError(t, err)
	return l
}

// collect returns all metrics by name.
func (l *lab) collect(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, l.metrics.Collect(t.Context(), &all))
	byName := map[string]metricdata.Metrics{}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			byName[m.Name] = m
		}
	}
	return byName
}

// points returns the attributes of each point of m, and what each has counted.
func points(t *testing.T, m metricdata.Metrics) map[attribute.Distinct]point {
	t.Helper()
	all := map[attribute.Distinct]point{}
	add := func(set attribute.Set, n int64) { all[set.Equivalent()] = point{set, n} }
	switch d := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			add(p.Attributes, p.Value)
		}
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			add(p.Attributes, int64(p.Count))
			assert.Equal(t, []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10}, p.Bounds, m.Name)
		}
	case metricdata.Histogram[int64]:
		for _, p := range d.DataPoints {
			add(p.Attributes, p.Sum)
		}
	default:
		t.Fatalf("%s has a %T", m.Name, d)
	}
	return all
}

type point struct {
	set attribute.Set
	n   int64
}

func total(t *testing.T, m metricdata.Metrics) (n int64) {
	t.Helper()
	for _, p := range points(t, m) {
		n += p.n
	}
	return n
}

// invoke runs n invocations, 64 at once, of a handler that reads, writes, fails and leaks. Before them it runs others that only read, until reads ride, and
// returns their number.
func (l *lab) invoke(t *testing.T, n int) (first int) {
	t.Helper()
	_, err := l.db.Exec(t.Context(), "create table orders (id int primary key, note text)")
	require.NoError(t, err)
	_, err = l.db.Exec(t.Context(), "insert into orders select i, 'hush' from generate_series(1, 100) i")
	require.NoError(t, err)
	read := func(ctx context.Context, i int) (note string, err error) {
		err = l.db.QueryRow(ctx, "select note from orders where id = $1", i%100+1).Scan(&note)
		return note, err
	}
	handler := lmipool.Handler(l.db, func(ctx context.Context, i int) (string, error) {
		note, err := read(ctx, i)
		if err != nil {
			return "", err
		}
		if i%10 == 0 {
			_, err := l.db.Exec(ctx, fmt.Sprintf("update orders set note = 'secret%d' where id = %d", i, i%100+1))
			return note, err
		}
		if i%100 == 7 {
			_, err := l.db.Exec(ctx, "set work_mem = '1MB'") // leaves something, so there is a reset
			return note, err
		}
		if i%100 == 3 {
			if _, err := l.db.Exec(ctx, "select 1/0"); err == nil {
				return "", errors.New("divided by zero")
			}
		}
		if i%100 == 9 {
			_, err := l.db.Acquire(ctx) // and forgets it
			return note, err
		}
		return note, nil
	})
	events := make([]int, n)
	for i := range events {
		events[i] = i
	}
	for ; l.db.Stat().Lanes().Rides == 0; first += n {
		for _, r := range lmitest.Call(t.Context(), lmitest.CallOptions{Timeout: time.Minute}, lmipool.Handler(l.db, read), events) {
			require.NoError(t, r.Err)
		}
	}
	for _, r := range lmitest.Call(t.Context(), lmitest.CallOptions{Timeout: time.Minute}, handler, events) {
		require.NoError(t, r.Err)
	}
	return first
}

func TestAThousandInvocationsHaveTheMetricsOfTheConventions(t *testing.T) {
	l := newLab(t, &lmipool.Config{MaxConns: 4})
	first := l.invoke(t, 1000)
	stat, all := l.db.Stat(), l.collect(t)

	for name, of := range map[string]interface {
		Name() string
		Unit() string
		Description() string
	}{
		"db.client.operation.duration":          dbconv.ClientOperationDuration{},
		"db.client.connection.count":            dbconv.ClientConnectionCountObservable{},
		"db.client.connection.idle.max":         dbconv.ClientConnectionIdleMaxObservable{},
		"db.client.connection.idle.min":         dbconv.ClientConnectionIdleMinObservable{},
		"db.client.connection.max":              dbconv.ClientConnectionMaxObservable{},
		"db.client.connection.pending_requests": dbconv.ClientConnectionPendingRequestsObservable{},
		"db.client.connection.create_time":      dbconv.ClientConnectionCreateTime{},
		"db.client.connection.wait_time":        dbconv.ClientConnectionWaitTime{},
		"db.client.connection.use_time":         dbconv.ClientConnectionUseTime{},
	} {
		m, ok := all[name]
		if assert.True(t, ok, "%s is missing", name) {
			assert.Equal(t, of.Name(), m.Name)
			assert.Equal(t, of.Unit(), m.Unit, name)
			assert.Equal(t, of.Description(), m.Description, name)
		}
	}

	statements := total(t, all["db.client.operation.duration"])
	assert.EqualValues(t, 2+first+1000+100+10+10, statements, "each statement counts once: two, then the reads, updates, SETs and divisions by zero")
	assert.Positive(t, stat.Lanes().Rides)
	assert.Equal(t, stat.Lanes().Rides, total(t, all["lmipool.rides"]))
	assert.Equal(t, stat.Lanes().Rides, total(t, all["lmipool.flight.reads"]))
	assert.Equal(t, stat.Lanes().Flights, total(t, all["lmipool.flights"]))
	assert.Equal(t, stat.NewConnsCount(), total(t, all["db.client.connection.create_time"]))
	assert.Equal(t, stat.Invocations().Resets, total(t, all["lmipool.resets"]))
	assert.EqualValues(t, 10, total(t, all["lmipool.leaks"]))
	assert.EqualValues(t, 4, total(t, all["db.client.connection.max"]))

	// few time series, and nothing of what was sent in them
	allowed := map[attribute.Key]bool{
		"db.system.name": true, "server.address": true, "server.port": true, "db.namespace": true, "db.operation.name": true, "error.type": true,
		"db.response.status_code": true, "db.client.connection.pool.name": true, "db.client.connection.state": true, "lmipool.reason": true,
	}
	for name, m := range all {
		ps := points(t, m)
		assert.LessOrEqual(t, len(ps), 12, name)
		for _, p := range ps {
			for _, kv := range p.set.ToSlice() {
				assert.True(t, allowed[kv.Key], "%s has %s", name, kv.Key)
				assert.NotContains(t, kv.Value.String(), "secret")
				assert.NotContains(t, kv.Value.String(), "orders")
			}
		}
	}
	var failed bool
	for _, p := range points(t, all["db.client.operation.duration"]) {
		code, _ := p.set.Value(semconv.DBResponseStatusCodeKey)
		kind, _ := p.set.Value(semconv.ErrorTypeKey)
		failed = failed || code.AsString() == "22012" && kind.AsString() == "22012"
	}
	assert.True(t, failed, "a division by zero has its SQLSTATE")
}

func TestSpansAreSiblingsInTheInvocationsTrace(t *testing.T) {
	l := newLab(t, &lmipool.Config{MaxConns: 2}, lmiotel.WithQueryText())
	l.invoke(t, 1000)
	rides, acquires, dials, outside := 0, 0, 0, 0
	for _, s := range l.spans.GetSpans() {
		attrs := attribute.NewSet(s.Attributes...)
		assert.Equal(t, trace.SpanKindClient, s.SpanKind)
		assert.False(t, s.EndTime.Before(s.StartTime), s.Name)
		for _, kv := range s.Attributes {
			assert.NotContains(t, kv.Value.String(), "secret", "literals are not shown")
			assert.NotContains(t, kv.Value.String(), "hush", "values are not shown")
		}
		assert.NotContains(t, s.Status.Description, " ", "no server's text")
		switch s.Name {
		case "connect":
			dials++
			assert.False(t, s.Parent.IsValid())
			continue
		case "pool.acquire":
			acquires++
		default:
			text, _ := attrs.Value(semconv.DBQueryTextKey)
			assert.NotEmpty(t, text.AsString(), s.Name)
			at, ok := attrs.Value(semconv.NetworkPeerAddressKey)
			assert.True(t, ok && at.AsString() != "", "%s has no server", s.Name)
			if ride, _ := attrs.Value("lmipool.ride"); ride.AsBool() {
				rides++
				assert.Equal(t, "SELECT", s.Name)
			}
		}
		if !s.Parent.IsValid() {
			outside++
			continue
		}
		assert.True(t, s.Parent.IsRemote(), "the parent is the invocation's trace")
		assert.Equal(t, s.Parent.TraceID(), s.SpanContext.TraceID())
	}
	assert.LessOrEqual(t, outside, 4, "CREATE and INSERT, and their acquires")
	assert.Positive(t, rides)
	assert.Positive(t, acquires)
	assert.EqualValues(t, l.db.Stat().NewConnsCount(), dials)
}

func TestASpanInCtxIsTheParent(t *testing.T) {
	l := newLab(t, &lmipool.Config{})
	ctx, own := l.tracers.Tracer("test").Start(t.Context(), "handler")
	_, err := l.db.Exec(ctx, "select 1")
	own.End()
	require.NoError(t, err)
	for _, s := range l.spans.GetSpans() {
		if s.Name == "SELECT" {
			assert.Equal(t, own.SpanContext().SpanID(), s.Parent.SpanID())
			return
		}
	}
	t.Fatal("no span of the statement")
}

func TestItWorksBesideOtelpgx(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	l := newLab(t, &lmipool.Config{Tracer: otelpgx.NewTracer(otelpgx.WithTracerProvider(tracers)), MaxConns: 2}, lmiotel.WithoutSpans())
	first := l.invoke(t, 200)
	assert.Empty(t, l.spans.GetSpans())
	assert.EqualValues(t, 2+first+200+20+2+2, total(t, l.collect(t)["db.client.operation.duration"]))

	ctx, own := tracers.Tracer("test").Start(t.Context(), "handler") // otelpgx makes spans only within one
	_, err := l.db.Exec(ctx, "update orders set note = '' where id = 1")
	own.End()
	require.NoError(t, err)
	var names []string
	for _, s := range exporter.GetSpans() {
		names = append(names, s.Name)
	}
	assert.Contains(t, names, "pool.acquire")
	assert.Contains(t, strings.Join(names, "\n"), "UPDATE")
	assert.Empty(t, l.spans.GetSpans())
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	_, err := lmiotel.New(lmiotel.WithConnString("postgres://app:hunter2@db:port/app"))
	require.ErrorContains(t, err, "lmiotel: the connection string")
	assert.NotContains(t, err.Error(), "hunter2")
}

// A nil pool would be noticed when metrics are collected, in a goroutine of the SDK's, and end the process.
func TestNilIsAnError(t *testing.T) {
	db := lmiotel.WithConnString("postgres://db/app")
	for _, opt := range []lmiotel.Option{
		lmiotel.WithMeterProvider(nil), lmiotel.WithTracerProvider(nil), lmiotel.WithMeterProvider((*sdkmetric.MeterProvider)(nil)), lmiotel.WithTracerProvider((*sdktrace.TracerProvider)(nil)),
	} {
		_, err := lmiotel.New(db, opt)
		assert.ErrorContains(t, err, "was given nil")
	}
	telemetry, err := lmiotel.New(db, nil)
	require.NoError(t, err)
	for _, pool := range []lmiotel.Pool{nil, (*lmipool.Pool)(nil)} {
		_, err = telemetry.Watch(pool)
		assert.ErrorContains(t, err, "the pool is nil")
	}
	_, err = (*lmiotel.Telemetry)(nil).Watch(new(lmipool.Pool))
	assert.ErrorContains(t, err, "the Telemetry is nil")
}

func TestASecondWatchReplacesTheFirst(t *testing.T) {
	l := newLab(t, &lmipool.Config{MaxConns: 3})
	_, err := l.db.Config().Observers[0].(*lmiotel.Telemetry).Watch(l.db)
	require.NoError(t, err)
	assert.EqualValues(t, 3, total(t, l.collect(t)["db.client.connection.max"]))
}

// RecordStats accepts nothing but a *pgxpool.Pool.
func TestOtelpgxRecordsTheStatsOfACompanion(t *testing.T) {
	l := newLab(t, &lmipool.Config{MaxConns: 4})
	companion, err := l.db.Companion(2)
	require.NoError(t, err)
	reader := sdkmetric.NewManualReader()
	require.NoError(t, otelpgx.RecordStats(companion, otelpgx.WithStatsMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))))
	require.NoError(t, companion.Ping(t.Context()))
	l.metrics = reader
	g, ok := l.collect(t)["pgxpool.max_connections"].Data.(metricdata.Gauge[int64])
	require.True(t, ok)
	assert.EqualValues(t, 2, g.DataPoints[0].Value)
}
