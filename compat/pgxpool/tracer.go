package pgxpool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// AcquireTracer is pgxpool's, with this package's Pool.
type AcquireTracer interface {
	TraceAcquireStart(context.Context, *Pool, TraceAcquireStartData) context.Context
	TraceAcquireEnd(context.Context, *Pool, TraceAcquireEndData)
}

// ReleaseTracer is pgxpool's, with this package's Pool.
type ReleaseTracer interface {
	TraceRelease(*Pool, TraceReleaseData)
}

// tracer returns t with the method signatures that lmipool expects.
func (p *Pool) tracer(t pgx.QueryTracer) pgx.QueryTracer {
	a, acquires := t.(AcquireTracer)
	r, releases := t.(ReleaseTracer)
	if !acquires || !releases {
		return t
	}
	return &tracer{t, p, a, r}
}

type tracer struct {
	pgx.QueryTracer
	p *Pool
	a AcquireTracer
	r ReleaseTracer
}

func (t *tracer) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, data TraceAcquireStartData) context.Context {
	return t.a.TraceAcquireStart(ctx, t.p, data)
}

func (t *tracer) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, data TraceAcquireEndData) {
	t.a.TraceAcquireEnd(ctx, t.p, data)
}

func (t *tracer) TraceRelease(_ *pgxpool.Pool, data TraceReleaseData) { t.r.TraceRelease(t.p, data) }
