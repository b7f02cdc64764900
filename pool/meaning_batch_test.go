package pool_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// rewriterFunc is a rewriter that is a function.
type rewriterFunc func() error

func (f rewriterFunc) RewriteQuery(_ context.Context, _ *pgx.Conn, sql string, args []any) (string, []any, error) {
	return sql, args, f()
}

// batchPanics is a tracer that panics where it is told to.
type batchPanics struct {
	multitracer.Tracer
	prepare, batch atomic.Bool
}

func (p *batchPanics) TracePrepareStart(ctx context.Context, _ *pgx.Conn, _ pgx.TracePrepareStartData) context.Context {
	return ctx
}

func (p *batchPanics) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {
	if p.prepare.Swap(false) {
		panic("in TracePrepareEnd")
	}
}

func (p *batchPanics) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	if p.batch.Swap(false) {
		panic("in TraceBatchStart")
	}
	return ctx
}
func (p *batchPanics) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (p *batchPanics) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// valuerThatPanics is an argument.
type valuerThatPanics struct{}

func (valuerThatPanics) Value() (driver.Value, error) { panic("in a Valuer") }

// What was prepared for a batch under other settings is there no more when the batch has failed, or code of the user's has
// panicked, before it was sent: the next insert of the same text stores all of its time.
func TestABatchThatIsNotSentLeavesNothingPrepared(t *testing.T) {
	t.Parallel()
	const insert = "insert into t (at) values ($1)"
	at := time.Date(2024, 5, 6, 15, 4, 5, 0, time.UTC)
	for name, queue := range map[string]func(b *pgx.Batch, tr *batchPanics){
		"named arguments":          func(b *pgx.Batch, _ *batchPanics) { b.Queue("select @at::text", pgx.StrictNamedArgs{"x": 1}) },
		"an error of the server's": func(b *pgx.Batch, _ *batchPanics) { b.Queue("select wrong") },
		"a Valuer":                 func(b *pgx.Batch, _ *batchPanics) { b.Queue("select $1::text", valuerThatPanics{}) },
		"TracePrepareEnd":          func(_ *pgx.Batch, tr *batchPanics) { tr.prepare.Store(true) },
		"TraceBatchStart":          func(_ *pgx.Batch, tr *batchPanics) { tr.batch.Store(true) },
		"a rewriter's error": func(b *pgx.Batch, _ *batchPanics) {
			b.Queue("select 1", rewriterFunc(func() error { return errors.New("no") }))
		},
		"a rewriter's panic": func(b *pgx.Batch, _ *batchPanics) {
			b.Queue("select 1", rewriterFunc(func() error { panic("in a rewriter") }))
		},
	} {
		for _, inTx := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in a transaction: %v", name, inTx), func(t *testing.T) {
				t.Parallel()
				ctx, tr := bounded(t), &batchPanics{}
				dsn, _ := meaningDatabase(t)
				p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Tracer: tr, Lanes: pool.Off})
				func() {
					defer func() { _ = recover() }()
					b := &pgx.Batch{}
					b.Queue(insert, at)
					queue(b, tr)
					run := func(set string) func(querier) {
						return func(q querier) {
							require.NoError(t, say(ctx, q, set))
							assert.Error(t, q.SendBatch(ctx, b).Close())
						}
					}
					if inTx {
						_ = lmipoolRuns(ctx, p, true, run("set local search_path = a"))
					} else {
						require.NoError(t, lmipoolRuns(ctx, p, false, run("set search_path = a")))
					}
				}()
				require.NoError(t, say(ctx, p, insert, at))
				assert.Equal(t, 1, newInspector(t, dsn).count("select count(*) from public.t where at = '2024-05-06 15:04:05+00'"))
			})
		}
	}
}
