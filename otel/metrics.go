package lmiotel

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"

	"github.com/lmipool/lmipool/observe"
)

// buckets are those that the conventions give for db.client.operation.duration, in seconds.
var buckets = metric.WithExplicitBucketBoundaries(.001, .005, .01, .05, .1, .5, 1, 5, 10)

// instruments are those that events are recorded with.
type instruments struct {
	operation dbconv.ClientOperationDuration
	wait      dbconv.ClientConnectionWaitTime
	create    dbconv.ClientConnectionCreateTime
	use       dbconv.ClientConnectionUseTime
	timeouts  dbconv.ClientConnectionTimeouts
	reads     metric.Int64Histogram
	refused   metric.Int64Counter
	resets    metric.Int64Counter
	overruns  metric.Int64Counter
	panics    metric.Int64Counter
	leaks     metric.Int64Counter
}

func newInstruments(m metric.Meter) (i instruments, err error) {
	var errs [11]error
	i.operation, errs[0] = dbconv.NewClientOperationDuration(m, buckets)
	i.wait, errs[1] = dbconv.NewClientConnectionWaitTime(m, buckets)
	i.create, errs[2] = dbconv.NewClientConnectionCreateTime(m, buckets)
	i.use, errs[3] = dbconv.NewClientConnectionUseTime(m, buckets)
	i.timeouts, errs[4] = dbconv.NewClientConnectionTimeouts(m)
	i.reads, errs[5] = m.Int64Histogram("lmipool.flight.reads", metric.WithUnit("{read}"), metric.WithDescription("Reads that one flight carried."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32))
	counter := func(n int, name, unit, description string) (c metric.Int64Counter) {
		c, errs[n] = m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		return c
	}
	i.refused = counter(6, "lmipool.refused", "{call}", "Calls that were refused because their time would not be enough, by reason.")
	i.resets = counter(7, "lmipool.resets", "{reset}", "Sessions that were reset, by what was left in them.")
	i.overruns = counter(8, "lmipool.overruns", "{invocation}", "Handlers that did not return in time.")
	i.panics = counter(9, "lmipool.panics", "{panic}", "Panics that were caught.")
	i.leaks = counter(10, "lmipool.leaks", "{lease}", "Leases that were not given back by their invocation.")
	return i, errors.Join(errs[:]...)
}

// ObserveStatement records a statement's duration, and makes its span.
func (t *Telemetry) ObserveStatement(ctx context.Context, e observe.Statement) {
	op, failed := operation(e), errorType(e.Err)
	attrs := t.sets.statement(op, failed)
	t.operation.Inst().Record(ctx, e.End.Sub(e.Start).Seconds(), attrs.metric...)
	if t.tracer != nil {
		t.statementSpan(ctx, e, op, failed, attrs.span)
	}
}

// ObserveAcquire records how long a caller waited, and makes a span if it did.
func (t *Telemetry) ObserveAcquire(ctx context.Context, e observe.Acquire) {
	t.wait.Inst().Record(ctx, e.End.Sub(e.Start).Seconds(), t.ofPool...)
	if e.Outcome == observe.Refused || e.Outcome == observe.Canceled && errors.Is(e.Err, context.DeadlineExceeded) {
		t.timeouts.AddSet(ctx, 1, t.poolAttrs)
	}
	if t.tracer != nil && (e.Waited || e.Err != nil) {
		t.acquireSpan(ctx, e)
	}
}

// ObserveRelease records how long a connection was used.
func (t *Telemetry) ObserveRelease(ctx context.Context, e observe.Release) {
	t.use.Inst().Record(ctx, e.End.Sub(e.Start).Seconds(), t.ofPool...)
}

// ObserveDial records how long a dial took, if it succeeded, and makes its span.
func (t *Telemetry) ObserveDial(ctx context.Context, e observe.Dial) {
	if e.Err == nil {
		t.create.Inst().Record(ctx, e.End.Sub(e.Start).Seconds(), t.ofPool...)
	}
	if t.tracer != nil {
		t.dialSpan(e)
	}
}

// ObserveFlight records how many reads a flight carried.
func (t *Telemetry) ObserveFlight(ctx context.Context, e observe.Flight) {
	t.reads.Record(ctx, int64(e.Reads))
}

// ObserveRefused counts a refusal.
func (t *Telemetry) ObserveRefused(ctx context.Context, e observe.Refusal) {
	t.refused.Add(ctx, 1, t.sets.reason(string(e.Reason)))
}

// ObserveReset counts a reset.
func (t *Telemetry) ObserveReset(ctx context.Context, e observe.Reset) {
	t.resets.Add(ctx, 1, t.sets.reason(string(e.Reason)))
}

// ObserveOverrun counts an overrun.
func (t *Telemetry) ObserveOverrun(ctx context.Context, _ observe.Overrun) { t.overruns.Add(ctx, 1) }

// ObservePanic counts a panic.
func (t *Telemetry) ObservePanic(ctx context.Context, _ observe.Panic) { t.panics.Add(ctx, 1) }

// ObserveLeak counts a leak.
func (t *Telemetry) ObserveLeak(ctx context.Context, _ observe.Leak) { t.leaks.Add(ctx, 1) }

// sets keeps the attribute sets that were used, since a new one costs a microsecond.
type sets struct {
	base       []attribute.KeyValue
	statements kept[[2]string, ofStatement]
	reasons    kept[string, metric.AddOption]
	peers      kept[netip.AddrPort, []attribute.KeyValue]
}

// ofStatement has the attributes that all statements with one operation and one kind of error have.
type ofStatement struct {
	metric []metric.RecordOption
	span   []attribute.KeyValue // without those of the error
}

// statement returns the attributes of a statement.
func (s *sets) statement(op, failed string) ofStatement {
	other := [2]string{op, semconv.ErrorTypeOther.Value.AsString()}
	return s.statements.get([2]string{op, failed}, other, func(key [2]string) ofStatement {
		span := append(slices.Clip(s.base), semconv.DBOperationName(key[0]))
		return ofStatement{[]metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(append(slices.Clip(span), failure(key[1])...)...))}, slices.Clip(span)}
	})
}

func (s *sets) reason(why string) metric.AddOption {
	return s.reasons.get(why, "other", func(why string) metric.AddOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("lmipool.reason", why)))
	})
}

// mostKept bounds the attribute sets of a metric: a function of the user's may raise any number of SQLSTATEs.
const mostKept = 100

// kept is a map of what was made for each key.
type kept[K comparable, V any] struct {
	all atomic.Pointer[map[K]V] // never changed, but replaced, so that readers need no lock
	mu  sync.Mutex              // of those who replace it
}

// get returns what make has made for key, or for other if there are mostKept keys already and key is none of them.
func (k *kept[K, V]) get(key, other K, make func(K) V) V {
	if all := k.all.Load(); all != nil {
		if v, ok := (*all)[key]; ok {
			return v
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[K]V{}
	if was := k.all.Load(); was != nil {
		all = maps.Clone(*was)
	}
	if len(all) >= mostKept {
		key = other
	}
	v, ok := all[key]
	if !ok {
		v = make(key)
		all[key] = v
		k.all.Store(&all)
	}
	return v
}

// failure returns the attributes that say how something has failed. They are none if failed is "".
func failure(failed string) (attrs []attribute.KeyValue) {
	if failed != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(failed))
	}
	if len(failed) == 5 { // an SQLSTATE
		attrs = append(attrs, semconv.DBResponseStatusCode(failed))
	}
	return attrs
}

// errorType returns the SQLSTATE of err, or a class of errors that has few members: the conventions want a low cardinality.
func errorType(err error) string {
	if err == nil {
		return ""
	}
	if p := (*pgconn.PgError)(nil); errors.As(err, &p) {
		return p.Code
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	for u := errors.Unwrap(err); u != nil; u = errors.Unwrap(err) {
		err = u
	}
	return reflect.TypeOf(err).String()
}
