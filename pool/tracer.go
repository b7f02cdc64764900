package pool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"

	"github.com/lmipool/lmipool/internal/isolation"
)

// tracer is a connection's tracer, which is the user's: it does not hear of statements of the pool's own, and what it does while
// a connection is opened may panic.
type tracer struct {
	*multitracer.Tracer
	w *workers
}

func (t tracer) TraceQueryStart(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if isolation.IsSilent(ctx) {
		return ctx
	}
	return t.Tracer.TraceQueryStart(ctx, c, d)
}

func (t tracer) TraceQueryEnd(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryEndData) {
	if !isolation.IsSilent(ctx) {
		t.Tracer.TraceQueryEnd(ctx, c, d)
	}
}

func (t tracer) TracePrepareStart(ctx context.Context, c *pgx.Conn, d pgx.TracePrepareStartData) context.Context {
	if isolation.IsSilent(ctx) {
		return ctx
	}
	return t.Tracer.TracePrepareStart(ctx, c, d)
}

func (t tracer) TracePrepareEnd(ctx context.Context, c *pgx.Conn, d pgx.TracePrepareEndData) {
	if !isolation.IsSilent(ctx) {
		t.Tracer.TracePrepareEnd(ctx, c, d)
	}
}

func (t tracer) TraceConnectStart(ctx context.Context, d pgx.TraceConnectStartData) context.Context {
	traced := ctx
	if t.w.catchPanic("TraceConnectStart", func() error { traced = t.Tracer.TraceConnectStart(ctx, d); return nil }) != nil {
		return ctx
	}
	return traced
}

func (t tracer) TraceConnectEnd(ctx context.Context, d pgx.TraceConnectEndData) {
	t.w.protect("TraceConnectEnd", func() { t.Tracer.TraceConnectEnd(ctx, d) })
}
