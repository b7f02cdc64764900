package pool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

func TestABatchsCallbacksDoNotRunAfterItsInvocation(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	ran := make(chan struct{}, 1)
	inv, scope := p.OpenScope(ctx, "", time.Time{})
	b := &pgx.Batch{}
	b.Queue("select 1").QueryRow(func(pgx.Row) error { ran <- struct{}{}; return nil })
	p.SendBatch(inv, b)
	scope.End()
	require.NoError(t, p.Ping(ctx))
	assert.Empty(t, ran)
}

func TestACallbackOfAForgottenBatchThatWouldPanicDoesNot(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	inv, scope := p.OpenScope(ctx, "", time.Time{})
	b := &pgx.Batch{}
	b.Queue("select 1").QueryRow(func(pgx.Row) error { panic("boom") })
	p.SendBatch(inv, b)
	scope.End()
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	require.NoError(t, p.Ping(short))
}

func TestAfterAPanicInACallbackTheOthersDoNotRun(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	b := &pgx.Batch{}
	ran := make(chan struct{}, 1)
	b.Queue("select 1").QueryRow(func(pgx.Row) error { panic("boom") })
	b.Queue("select 1").QueryRow(func(pgx.Row) error { ran <- struct{}{}; return nil })
	assert.Panics(t, func() { p.SendBatch(ctx, b).Close() })
	require.NoError(t, p.Ping(ctx))
	assert.Empty(t, ran)
}

func TestTheConnOfAnEndedLeaseIsNobodyElses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lease", "tx", "lo", "lease released"} {
		t.Run(name, func(t *testing.T) {
			ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
			inv, scope := p.OpenScope(ctx, "", time.Time{})
			var use func() error
			switch name {
			case "tx":
				tx, err := p.Begin(inv)
				require.NoError(t, err)
				use = func() error { return tx.Conn().Ping(ctx) }
			case "lo":
				tx, err := p.Begin(inv)
				require.NoError(t, err)
				use = func() error { lo := tx.LargeObjects(); _, err := lo.Create(ctx, 0); return err }
			default:
				l, err := p.Acquire(inv)
				require.NoError(t, err)
				if name == "lease released" {
					l.Release()
				}
				use = func() error { return l.Conn().Ping(ctx) }
			}
			scope.End()
			other, err := p.Acquire(ctx)
			require.NoError(t, err)
			defer other.Release()
			err = func() (err error) {
				defer func() {
					if v := recover(); v != nil {
						err = fmt.Errorf("%v", v)
					}
				}()
				return use()
			}()
			assert.Error(t, err, "a straggler used somebody else's connection")
		})
	}
}

func TestShutdownWithNothingOutIsNoError(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, nil)
	require.NoError(t, p.Ping(ctx))
	done, cancel := context.WithCancel(ctx)
	cancel()
	bad := 0
	for range 20 {
		if err := p.Shutdown(done); err != nil {
			bad++
		}
	}
	assert.Zero(t, bad)
}

func TestPrepareConnsErrorDoesNotKeepABrokenConnection(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	first := true
	p := newPool(t, &pool.Config{MaxConns: 1, PrepareConn: func(ctx context.Context, c *pgx.Conn) (bool, error) {
		if first {
			first = false
			short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			_, err := c.Exec(short, "select pg_sleep(5)")
			return true, err
		}
		return true, nil
	}})
	require.Error(t, p.Ping(ctx))
	assert.NoError(t, p.Ping(ctx))
}

func TestPrepareConnsErrorLeavesNoTransaction(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	first := true
	p := newPool(t, &pool.Config{MaxConns: 1, PrepareConn: func(ctx context.Context, c *pgx.Conn) (bool, error) {
		if first {
			first = false
			_, err := c.Exec(ctx, "begin; select 1/0")
			return true, err
		}
		return true, nil
	}})
	require.Error(t, p.Ping(ctx))
	_, err := p.Exec(ctx, "select 1")
	assert.NoError(t, err)
}

// panicTracer panics when certain statements end, in whatever goroutine.
type panicTracer struct{}

type sqlKey struct{}

func (panicTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, sqlKey{}, d.SQL)
}

func (panicTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryEndData) {
	if ctx.Value(sqlKey{}) == "rollback" || ctx.Value(sqlKey{}) == "select 'x'" {
		panic("boom")
	}
}

func TestATracersPanicInTheBackgroundLosesNoPlace(t *testing.T) {
	t.Parallel()
	for _, leak := range []string{"tx", "rows"} {
		ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Tracer: panicTracer{}, Logger: (&logs{}).logger()})
		inv, scope := p.OpenScope(ctx, "", time.Time{})
		if leak == "tx" {
			p.Begin(inv)
		} else {
			p.Query(inv, "select 'x'")
		}
		scope.End()
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		assert.NoError(t, p.Ping(short), leak)
	}
}

// -race. pgx's EnumCodec caches in a map, and a row is decoded after its connection went on.
func TestEnumsOfOneConnectionDecodeInManyGoroutines(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	labels := make([]string, 500)
	for i := range labels {
		labels[i] = fmt.Sprintf("'m%d'", i)
	}
	_, err := newInspector(t, dsn).c.Exec(bounded(t), "create type mood as enum ("+strings.Join(labels, ",")+")")
	require.NoError(t, err)
	ctx, p := bounded(t), newPoolAt(t, dsn, &pool.Config{MaxConns: 1, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		types, err := c.LoadTypes(ctx, []string{"mood"})
		c.TypeMap().RegisterTypes(types)
		return err
	}})
	rows := make([]pgx.Row, 64)
	for i := range rows {
		rows[i] = p.QueryRow(ctx, "select $1::mood", fmt.Sprintf("m%d", i))
	}
	together(len(rows), func(i int) { // -race
		var m any
		if assert.NoError(t, rows[i].Scan(&m)) {
			assert.Equal(t, fmt.Sprintf("m%d", i), m)
		}
	})
}

func TestTypesRegisteredLaterAreKnown(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	_, err := newInspector(t, dsn).c.Exec(bounded(t), "create type pair as (a int, b text)")
	require.NoError(t, err)
	ctx, p := bounded(t), newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	early := p.QueryRow(ctx, "select 1")
	require.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) error {
		types, err := l.Conn().LoadTypes(ctx, []string{"pair"})
		l.Conn().TypeMap().RegisterTypes(types)
		return err
	}))
	var n int
	require.NoError(t, early.Scan(&n))
	var pair struct {
		A int
		B string
	}
	assert.NoError(t, p.QueryRow(ctx, "select row(7, 'happy')::pair").Scan(&pair))
}

func TestNewRefusesAHealthCheckPeriodOfZeroInTheConnectionString(t *testing.T) {
	t.Parallel()
	_, err := pool.New(bounded(t), nowhere+"&pool_health_check_period=0s", nil)
	assert.ErrorContains(t, err, "HealthCheckPeriod")
}
