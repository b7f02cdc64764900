package pool

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// forget drops what pgx has in its caches for these texts, on both sides, and nothing else. pgx
// drops the entry of a text whose Query fails; so it is given a Query that fails before anything
// of it is sent. With the next Query, which is another of these, it drops on the server what
// it has dropped itself.
func (c *conn) forget(ctx context.Context, texts []string) error {
	ctx = context.WithValue(ctx, silentKey{}, true)
	for _, sql := range append(texts, "") {
		r, err := c.pg.Query(ctx, sql, failing{})
		r.Close()
		if err != nil && !errors.Is(err, errForgotten) {
			return err
		}
	}
	return nil
}

// failing is a rewriter that fails.
type failing struct{}

func (failing) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return "", nil, errForgotten
}

var errForgotten = errors.New("lmipool: a statement is to be forgotten")

// silentKey is in the ctx of what the user's tracer is not to hear of.
type silentKey struct{}

// quietly is t, but for what is silent. pgx asks a tracer which of these it is, once, so it is
// all of them.
func quietly(t pgx.QueryTracer) pgx.QueryTracer {
	if t == nil {
		return nil
	}
	q := &quietTracer{QueryTracer: t}
	q.batch, _ = t.(pgx.BatchTracer)
	q.copy, _ = t.(pgx.CopyFromTracer)
	q.prepare, _ = t.(pgx.PrepareTracer)
	q.connect, _ = t.(pgx.ConnectTracer)
	return q
}

type quietTracer struct {
	pgx.QueryTracer
	batch   pgx.BatchTracer
	copy    pgx.CopyFromTracer
	prepare pgx.PrepareTracer
	connect pgx.ConnectTracer
}

func (q *quietTracer) TraceQueryStart(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if ctx.Value(silentKey{}) != nil {
		return ctx
	}
	return q.QueryTracer.TraceQueryStart(ctx, c, d)
}

func (q *quietTracer) TraceQueryEnd(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryEndData) {
	if ctx.Value(silentKey{}) == nil {
		q.QueryTracer.TraceQueryEnd(ctx, c, d)
	}
}

func (q *quietTracer) TraceBatchStart(ctx context.Context, c *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	if q.batch == nil {
		return ctx
	}
	return q.batch.TraceBatchStart(ctx, c, d)
}

func (q *quietTracer) TraceBatchQuery(ctx context.Context, c *pgx.Conn, d pgx.TraceBatchQueryData) {
	if q.batch != nil {
		q.batch.TraceBatchQuery(ctx, c, d)
	}
}

func (q *quietTracer) TraceBatchEnd(ctx context.Context, c *pgx.Conn, d pgx.TraceBatchEndData) {
	if q.batch != nil {
		q.batch.TraceBatchEnd(ctx, c, d)
	}
}

func (q *quietTracer) TraceCopyFromStart(ctx context.Context, c *pgx.Conn, d pgx.TraceCopyFromStartData) context.Context {
	if q.copy == nil {
		return ctx
	}
	return q.copy.TraceCopyFromStart(ctx, c, d)
}

func (q *quietTracer) TraceCopyFromEnd(ctx context.Context, c *pgx.Conn, d pgx.TraceCopyFromEndData) {
	if q.copy != nil {
		q.copy.TraceCopyFromEnd(ctx, c, d)
	}
}

func (q *quietTracer) TracePrepareStart(ctx context.Context, c *pgx.Conn, d pgx.TracePrepareStartData) context.Context {
	if q.prepare == nil || ctx.Value(silentKey{}) != nil {
		return ctx
	}
	return q.prepare.TracePrepareStart(ctx, c, d)
}

func (q *quietTracer) TracePrepareEnd(ctx context.Context, c *pgx.Conn, d pgx.TracePrepareEndData) {
	if q.prepare != nil && ctx.Value(silentKey{}) == nil {
		q.prepare.TracePrepareEnd(ctx, c, d)
	}
}

func (q *quietTracer) TraceConnectStart(ctx context.Context, d pgx.TraceConnectStartData) context.Context {
	if q.connect == nil {
		return ctx
	}
	return q.connect.TraceConnectStart(ctx, d)
}

func (q *quietTracer) TraceConnectEnd(ctx context.Context, d pgx.TraceConnectEndData) {
	if q.connect != nil {
		q.connect.TraceConnectEnd(ctx, d)
	}
}
