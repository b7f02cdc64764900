package lmiotel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/lmipool/lmipool/observe"
	lmiotel "github.com/lmipool/lmipool/otel"
)

// TestTimeSeriesAreFew tells 20,000 generated events, in which each text is another one. No metric has a text of them, and none has more than 150 series.
func TestTimeSeriesAreFew(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	telemetry, err := lmiotel.New(lmiotel.WithConnString("postgres://db/app"), lmiotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))), lmiotel.WithoutSpans())
	require.NoError(t, err)
	random, ctx, at := rand.New(rand.NewPCG(1, 2)), context.Background(), time.Now()
	secret := func() string { return fmt.Sprintf("secret%d", random.Int()) }
	words := []string{"select", "SELECT", "(select", "/* secret */ Insert", "with", "secret", "secret'", "\"secret\""}
	for i := range 2500 {
		err := error(&pgconn.PgError{Code: fmt.Sprintf("%05d", i), Message: secret()})
		if i%2 == 0 {
			err = errors.New(secret())
		}
		telemetry.ObserveStatement(ctx, observe.Statement{
			Asked: at, Start: at, End: at, Op: observe.Exec, SQL: words[i%len(words)] + " " + secret(), Alone: secret(), Tag: secret(), Err: err, RequestID: secret(),
		})
		telemetry.ObserveAcquire(ctx, observe.Acquire{Start: at, End: at, Waited: true, Outcome: observe.Outcome(secret()), For: secret(), Err: err, RequestID: secret()})
		telemetry.ObserveRelease(ctx, observe.Release{Start: at, End: at, For: secret(), RequestID: secret()})
		telemetry.ObserveDial(ctx, observe.Dial{Start: at, End: at})
		telemetry.ObserveRefused(ctx, observe.Refusal{At: at, Reason: observe.Pressure, RequestID: secret()})
		telemetry.ObserveReset(ctx, observe.Reset{At: at, Reason: observe.LeftSession})
		telemetry.ObserveLeak(ctx, observe.Leak{At: at, For: secret(), SQL: secret(), Place: []string{secret()}, RequestID: secret()})
		telemetry.ObservePanic(ctx, observe.Panic{At: at, In: secret(), Value: secret(), Place: []string{secret()}, RequestID: secret()})
		telemetry.ObserveOverrun(ctx, observe.Overrun{At: at, RequestID: secret()})
		telemetry.ObserveFlight(ctx, observe.Flight{Start: at, End: at, Reads: i})
	}
	all := (&lab{metrics: reader}).collect(t)
	assert.Len(t, all, 10)
	other := false
	for name, m := range all {
		series := points(t, m)
		assert.LessOrEqual(t, len(series), 150, name)
		for _, p := range series {
			for _, kv := range p.set.ToSlice() {
				assert.NotContains(t, kv.Value.String(), "secret", "%s of %s", kv.Key, name)
			}
			kind, _ := p.set.Value("error.type")
			other = other || kind.AsString() == "_OTHER"
		}
	}
	assert.True(t, other, "the SQLSTATEs beyond the first hundred are one series")
}

// TestAReadThatIsNotSampledAllocatesNothing: telemetry must cost less than 5 % of the throughput, and a read takes 20 us.
func TestAReadThatIsNotSampledAllocatesNothing(t *testing.T) {
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	telemetry, err := lmiotel.New(lmiotel.WithConnString("postgres://db/app"), lmiotel.WithTracerProvider(tracers),
		lmiotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
	require.NoError(t, err)
	ctx, _ := tracers.Tracer("test").Start(context.Background(), "invocation")
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		telemetry.ObserveAcquire(ctx, observe.Acquire{Waited: true, Outcome: observe.Rode, For: "statement"})
		telemetry.ObserveStatement(ctx, observe.Statement{Op: observe.Query, SQL: "select name from t where id = $1", Rode: true, Tries: 1})
	}))
}

// The host is an attribute of each metric and span, so it must not have a part of the password.
func TestAPasswordInTheHostIsRefused(t *testing.T) {
	t.Parallel()
	_, err := lmiotel.New(lmiotel.WithConnString("postgres://app:s3cr@hunter2@host/db"))
	assert.ErrorContains(t, err, "the connection string has an @ in its host")
	assert.NotContains(t, err.Error(), "hunter2")
}
