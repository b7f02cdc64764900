package lmiotel

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/lmipool/lmipool/observe"
)

// statementSpan makes the span of a statement that has ended.
func (t *Telemetry) statementSpan(ctx context.Context, e observe.Statement, op, failed string) {
	span := t.start(ctx, op, e.Start)
	if span.IsRecording() {
		span.SetAttributes(t.sets.base...)
		span.SetAttributes(outcome(op, failed)...)
		span.SetAttributes(peer(e.Server)...)
		span.SetAttributes(attribute.Bool("lmipool.ride", e.Rode), attribute.Int("lmipool.tries", e.Tries))
		if e.Op == observe.Query && e.Err == nil {
			span.SetAttributes(semconv.DBResponseReturnedRows(int(e.Rows)))
		}
		if e.Queries > 1 {
			span.SetAttributes(semconv.DBOperationBatchSize(e.Queries))
		}
		if t.queryText && e.SQL != "" {
			span.SetAttributes(semconv.DBQueryText(e.Text()))
		}
		fail(span, e.Err)
	}
	span.End(trace.WithTimestamp(e.End))
}

// acquireSpan makes the span of an acquire that has ended. It has otelpgx's name.
func (t *Telemetry) acquireSpan(ctx context.Context, e observe.Acquire) {
	span := t.start(ctx, "pool.acquire", e.Start)
	if span.IsRecording() {
		span.SetAttributes(t.sets.base...)
		span.SetAttributes(t.poolAttrs.ToSlice()...)
		span.SetAttributes(attribute.String("lmipool.outcome", string(e.Outcome)))
		if e.Err != nil {
			span.SetAttributes(semconv.ErrorTypeKey.String(errorType(e.Err)))
		}
		fail(span, e.Err)
	}
	span.End(trace.WithTimestamp(e.End))
}

// dialSpan makes the span of a dial that has ended. A dial belongs to no invocation: it may serve any of them.
func (t *Telemetry) dialSpan(ctx context.Context, e observe.Dial) {
	_, span := t.tracer.Start(ctx, "connect", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(e.Start))
	if span.IsRecording() {
		span.SetAttributes(t.sets.base...)
		span.SetAttributes(peer(e.Server)...)
		if e.Err != nil {
			span.SetAttributes(semconv.ErrorTypeKey.String(errorType(e.Err)))
		}
		fail(span, e.Err)
	}
	span.End(trace.WithTimestamp(e.End))
}

// fail notes err in span. Its text is the server's, and may have a value in it, so only its kind is shown.
func fail(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, errorType(err))
	}
}

func (t *Telemetry) start(ctx context.Context, name string, at time.Time) trace.Span {
	_, span := t.tracer.Start(parent(ctx), name, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(at))
	return span
}

// parent returns ctx with a span: its own, or else the one that the Lambda runtime has named for the invocation.
func parent(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	id, _ := ctx.Value("x-amzn-trace-id").(string) // the key of aws-lambda-go
	if sc := fromXRay(id); sc.IsValid() {
		return trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	return ctx
}

// fromXRay reads a trace header of X-Ray, such as "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1". What is not understood
// leaves the result invalid. OpenTelemetry's own propagator for it is no longer supported.
func fromXRay(header string) trace.SpanContext {
	var c trace.SpanContextConfig
	c.Remote = true
	for field := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Root":
			if version, id, _ := strings.Cut(value, "-"); version == "1" {
				c.TraceID, _ = trace.TraceIDFromHex(strings.Replace(id, "-", "", 1))
			}
		case "Parent":
			c.SpanID, _ = trace.SpanIDFromHex(value)
		case "Sampled":
			c.TraceFlags = c.TraceFlags.WithSampled(value == "1")
		}
	}
	return trace.NewSpanContext(c)
}
