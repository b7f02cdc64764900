package pool_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

func TestWhatTurnsLanesOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*pool.Config{
		"Lanes off":   {Lanes: pool.Off},
		"shadow":      {Lanes: pool.Shadow},
		"PrepareConn": {PrepareConn: func(context.Context, *pgx.Conn) (bool, error) { return true, nil }},
		"exec mode": {BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
			c.DefaultQueryExecMode = pgx.QueryExecModeExec
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			b := newLaneLab(t, c)
			b.teach(ctx, "select 40 + $1::int", 2)
			b.together(ctx, b.company(ctx), b.company(ctx), b.company(ctx))
			s := b.p.Stat()
			assert.Zero(t, s.Lanes().Rides)
			if name == "shadow" {
				assert.EqualValues(t, 3, s.Lanes().ShadowRides)
			} else {
				assert.Zero(t, s.Lanes().ShadowRides)
			}
		})
	}
}

func TestWhoGoesAlone(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t (id int); create function f() returns int stable language plpgsql as 'begin return 1; end'; create view v as select f()")
	b.teach(ctx, "select 40 + $1::int", 2)
	for sql, why := range map[string]string{
		"insert into t values (1)":                                          "text",
		"select * from t for update":                                        "text",
		"with x as (insert into t values (1) returning id) select * from x": "text",
		"show search_path":                                                  "text",
		"select f()":                                                        "function",
		"select * from v":                                                   "function",
		"select current_setting('search_path')":                             "function",
		"select nextval('s')":                                               "function",
		"select 1 where pg_try_advisory_lock(1)":                            "function",
	} {
		if sql == "select nextval('s')" {
			b.exec("create sequence s")
		}
		b.teach(ctx, sql)
		before := b.p.Stat()
		b.together(ctx, b.company(ctx), func() {
			_, err := b.p.Exec(ctx, sql)
			assert.NoError(t, err, sql)
		}, b.company(ctx))
		s := b.p.Stat()
		assert.EqualValues(t, before.Lanes().Alone[why]+1, s.Lanes().Alone[why], "%s: %v", sql, s.Lanes().Alone)
		assert.Equal(t, before.Lanes().Rides+2, s.Lanes().Rides, sql)
		b.exec("truncate t; select pg_advisory_unlock_all()")
	}
}

func TestAloneAndTransactionsDoNotRide(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
	p.NeverSlow()
	b := &laneLab{t: t, p: p, see: newInspector(t, dsn)}

	inTx, scope := p.OpenScope(ctx, "holds a transaction", time.Time{})
	defer scope.End()
	tx, err := p.Begin(inTx)
	require.NoError(t, err)
	defer tx.Rollback(ctx)
	b.teach(ctx, "select 40 + $1::int", 2)

	b.together(ctx, b.company(ctx), b.company(inTx), b.company(pool.Alone(ctx)), b.company(ctx))
	s := p.Stat()
	assert.EqualValues(t, 2, s.Lanes().Alone["asked"], "%v", s.Lanes().Alone)
	assert.EqualValues(t, 2, s.Lanes().Rides)
}

// calls counts what a QueryTracer is called with.
type calls struct{ started, ended, failed, without atomic.Int64 }

type callKey struct{}

func (c *calls) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	c.started.Add(1)
	if conn == nil || conn.PgConn() == nil {
		c.without.Add(1)
	}
	return context.WithValue(ctx, callKey{}, data.SQL)
}

func (c *calls) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	if ctx.Value(callKey{}) == nil || conn == nil {
		c.without.Add(1)
	}
	if data.Err != nil {
		c.failed.Add(1)
	}
	c.ended.Add(1)
}

func TestATracerSeesEachRideOnce(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	c := &calls{}
	b := newLaneLab(t, &pool.Config{Tracer: c})
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, "select 1 / $1::int", 1)
	before := c.started.Load()
	b.together(ctx, b.company(ctx), b.company(ctx), func() { assert.Error(t, b.scan(ctx, new(int), "select 1 / $1::int", 0)) })
	assert.EqualValues(t, 3, b.p.Stat().Lanes().Rides)
	assert.EqualValues(t, before+3, c.started.Load())
	assert.Equal(t, c.started.Load(), c.ended.Load())
	assert.EqualValues(t, 1, c.failed.Load())
	assert.Zero(t, c.without.Load())
}

// NamedArgs are rewritten before they ride.
func TestNamedArgsRide(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	const sql = "select @a::int + @b::int"
	b.teach(ctx, sql, pgx.NamedArgs{"a": 1, "b": 2})
	sum := func(a, c int) func() {
		return func() {
			var n int
			assert.NoError(t, b.scan(ctx, &n, sql, pgx.NamedArgs{"a": a, "b": c}))
			assert.Equal(t, a+c, n)
		}
	}
	b.together(ctx, sum(1, 2), sum(30, 4))
	assert.EqualValues(t, 2, b.p.Stat().Lanes().Rides)
}
