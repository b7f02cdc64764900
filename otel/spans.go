package lmiotel

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/lmipool/lmipool/observe"
)

// statementSpan makes the span of a statement that has ended. attrs are those that all spans with the operation op have. An attribute that is seldom worth
// its place is left out: the SDK looks for duplicates with a map, and up to eight attributes need only a small one.
func (t *Telemetry) statementSpan(ctx context.Context, e observe.Statement, op, failed string, attrs []attribute.KeyValue) {
	span := t.start(ctx, op, e.Start, true)
	if !span.IsRecording() {
		return
	}
	attrs = append(append(make([]attribute.KeyValue, 0, len(attrs)+4), attrs...), t.sets.peer(e.Server)...)
	if e.Rode {
		attrs = append(attrs, attribute.Bool("lmipool.ride", true))
	}
	if e.Tries > 1 {
		attrs = append(attrs, attribute.Int("lmipool.tries", e.Tries))
	}
	if e.Queries > 1 {
		attrs = append(attrs, semconv.DBOperationBatchSize(e.Queries))
	}
	if t.queryText && e.SQL != "" {
		attrs = append(attrs, semconv.DBQueryText(e.Text()))
	}
	end(span, e.End, failed, attrs)
}

// acquireSpan makes the span of an acquire that has ended. It has otelpgx's name. Outside a trace only a failed acquire has one, since a trace that
// consists of one wait does not say who waited.
func (t *Telemetry) acquireSpan(ctx context.Context, e observe.Acquire) {
	if span := t.start(ctx, "pool.acquire", e.Start, e.Err != nil); span.IsRecording() {
		end(span, e.End, errorType(e.Err), append(append(make([]attribute.KeyValue, 0, len(t.acquireAttrs)+1), t.acquireAttrs...), attribute.String("lmipool.outcome", string(e.Outcome))))
	}
}

// dialSpan makes the span of a dial that has ended. A dial belongs to no invocation: it may serve any of them.
func (t *Telemetry) dialSpan(e observe.Dial) {
	if span := t.start(context.Background(), "connect", e.Start, true); span.IsRecording() {
		end(span, e.End, errorType(e.Err), append(slices.Clip(t.sets.base), t.sets.peer(e.Server)...))
	}
}

// end ends span. If failed is not empty, it is the kind of error with which span has failed. The error's text is the server's, and may have a value in it,
// so it is not shown.
func end(span trace.Span, at time.Time, failed string, attrs []attribute.KeyValue) {
	if failed != "" {
		attrs = append(attrs, failure(failed)...)
		span.SetStatus(codes.Error, failed)
	}
	span.SetAttributes(attrs...)
	span.End(trace.WithTimestamp(at))
}

var client = trace.WithSpanKind(trace.SpanKindClient)

// start starts a span at the time at. Its parent is the span in ctx, or else the one that the Lambda runtime has named for the invocation. If there is
// neither, the span begins a trace if root is true. start returns a span that does nothing if it begins none, and if the span in ctx is of this process and
// not recorded: samplers drop the children of such a span, and to ask them takes a microsecond for each statement.
func (t *Telemetry) start(ctx context.Context, name string, at time.Time, root bool) trace.Span {
	own := trace.SpanFromContext(ctx)
	if in := own.SpanContext(); !in.IsValid() {
		id, _ := ctx.Value("x-amzn-trace-id").(string) // the key of aws-lambda-go
		if sc := fromXRay(id); sc.IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
		} else if !root {
			return own
		}
	} else if !in.IsRemote() && !in.IsSampled() && !own.IsRecording() {
		return own
	}
	_, span := t.tracer.Start(ctx, name, client, trace.WithTimestamp(at))
	return span
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
