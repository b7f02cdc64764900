package pool_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// panicSource panics in one of its methods, at the third row.
type panicSource struct {
	in string
	n  int
}

func (s *panicSource) Next() bool {
	s.n++
	s.boom("Next")
	return s.in != "Err" || s.n < 3 // its end is what Err is asked after
}

func (s *panicSource) Values() ([]any, error) {
	s.boom("Values")
	return []any{s.n}, nil
}

func (s *panicSource) Err() error {
	s.boom("Err")
	return nil
}

func (s *panicSource) boom(in string) {
	if s.in == in && s.n == 3 {
		panic("boom")
	}
}

func TestACopyFromSourcesPanicIsItsError(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	_, err := p.Exec(ctx, "create table t (n int)")
	require.NoError(t, err)
	first := pid(t, p)
	for _, in := range []string{"Next", "Values", "Err"} {
		into := func(to interface {
			CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
		},
		) error {
			_, err := to.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n"}, &panicSource{in: in})
			return err
		}
		assert.ErrorContains(t, into(p), "CopyFromSource panicked: boom", in)
		assert.ErrorContains(t, pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error { return into(tx) }), "CopyFromSource panicked: boom", in)
		assert.Zero(t, p.Stat().AcquiredConns(), in)
	}
	var n int
	require.NoError(t, p.QueryRow(ctx, "select count(*) from t").Scan(&n))
	assert.Zero(t, n, "nothing was copied")
	assert.Equal(t, first, pid(t, p), "the connection is fine")
	assert.EqualValues(t, 6, p.Stat().PanicCount())
}

// panicPoolTracer panics when a connection has been acquired, and when it comes back.
type panicPoolTracer struct{}

func (panicPoolTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (panicPoolTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (panicPoolTracer) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	return ctx
}

func (panicPoolTracer) TraceAcquireEnd(context.Context, *pgxpool.Pool, pgxpool.TraceAcquireEndData) {
	panic("boom")
}

func (panicPoolTracer) TraceRelease(*pgxpool.Pool, pgxpool.TraceReleaseData) { panic("boom") }

func TestATracersPanicAtAcquireOrReleaseLosesNoPlace(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Tracer: panicPoolTracer{}, Logger: (&logs{}).logger()})
	for range 3 {
		require.NotPanics(t, func() {
			l, err := p.Acquire(ctx)
			if assert.NoError(t, err) {
				l.Release()
			}
		})
		require.Zero(t, p.Stat().AcquiredConns())
	}
	assert.EqualValues(t, 6, p.Stat().PanicCount())
	assert.EqualValues(t, 1, p.Stat().NewConnsCount())
}

// panicsAt is a tracer that panics when a query of one text begins, or has ended.
type panicsAt struct {
	sql   string
	start bool
	off   atomic.Bool
}

type tracedText struct{}

func (p *panicsAt) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if p.start && d.SQL == p.sql && !p.off.Load() {
		panic("boom before " + d.SQL)
	}
	return context.WithValue(ctx, tracedText{}, d.SQL)
}

func (p *panicsAt) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if !p.start && ctx.Value(tracedText{}) == p.sql && !p.off.Load() {
		panic("boom after " + p.sql)
	}
}

// An invocation's tracer panics when it begins or ends a transaction. Its connection goes to another, and then its ctx
// ends: that stops nothing that the other runs.
func TestAPanicAtBeginOrCommitCancelsNobodyElse(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"begin", "commit", "rollback"} {
		for _, start := range []bool{true, false} {
			tr := &panicsAt{sql: sql, start: start}
			p := newPool(t, &pool.Config{MaxConns: 1, Tracer: tr, Logger: (&logs{}).logger()})
			ctx, cancel := context.WithCancel(bounded(t))
			require.Panics(t, func() {
				tx, err := p.Begin(ctx)
				require.NoError(t, err)
				_, err = tx.Exec(ctx, "select 1")
				require.NoError(t, err)
				if sql == "commit" {
					_ = tx.Commit(ctx)
				} else {
					_ = tx.Rollback(ctx)
				}
			}, "%s %v", sql, start)
			tr.off.Store(true)
			l, err := p.Acquire(bounded(t))
			require.NoError(t, err)
			time.AfterFunc(50*time.Millisecond, cancel)
			for range 3 {
				_, err = l.Exec(bounded(t), "select pg_sleep(0.1)")
				assert.NoError(t, err, "%s %v", sql, start)
			}
			l.Release()
			assert.Zero(t, p.Stat().Cancels().Requests, "%s %v", sql, start)
		}
	}
}

// handlerThatPanics is a slog.Handler of the user's with a bug.
type handlerThatPanics struct {
	slog.Handler
	n *atomic.Int32 // how often it did
}

func (handlerThatPanics) Enabled(context.Context, slog.Level) bool { return true }
func (h handlerThatPanics) Handle(context.Context, slog.Record) error {
	h.n.Add(1)
	panic("boom in a Handler")
}

// Housekeeping logs Rows that stay open. A panic in the Logger's Handler ends neither it nor the process.
func TestALoggerThatPanicsEndsNothing(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	p := newPool(t, &pool.Config{
		MaxConns: 2, ReportRowsAfter: time.Millisecond, HealthCheckPeriod: 10 * time.Millisecond,
		Logger: slog.New(handlerThatPanics{slog.DiscardHandler, &n}),
	})
	const sql = "select generate_series(1, 1000000)"
	for i, query := range []func() (pgx.Rows, error){ // at two places, since one place is logged once a minute
		func() (pgx.Rows, error) { return p.Query(bounded(t), sql) },
		func() (pgx.Rows, error) { return p.Query(bounded(t), sql) },
	} {
		r, err := query()
		require.NoError(t, err)
		defer r.Close()
		eventually(t, "the report of the open rows", func() bool { return n.Load() > int32(i) })
	}
}
