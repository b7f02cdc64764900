package pool_test

import (
	"context"
	"database/sql/driver"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// moody is a tracer and listener that panics when it is told to.
type moody struct{ start, end, notice atomic.Bool }

func (m *moody) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if m.start.Load() {
		panic("start")
	}
	return ctx
}

func (m *moody) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {
	if m.end.Load() {
		panic("end")
	}
}

type panicValuer struct{ panics bool }

func (v panicValuer) Value() (driver.Value, error) {
	if v.panics {
		panic("value")
	}
	return int64(2), nil
}

// Code of the user's that panics while his statement rides: nobody waits for ever, the
// others get their answers, and the pool is whole.
func TestAPanicOnALaneHurtsNobodyElse(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	m := &moody{}
	b := newLaneLab(t, &pool.Config{
		Tracer: m, Logger: (&logs{}).logger(), LaneFunctions: []string{"noisy"},
		BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
			c.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {
				if m.notice.CompareAndSwap(true, false) {
					panic("notice")
				}
			}
			return nil
		},
	})
	b.exec("create function noisy(int) returns int language plpgsql stable as $$ begin raise notice 'heard %', $1; return $1; end $$")
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, "select noisy($1)", 2)
	panics := func(f func()) (v any) {
		defer func() { v = recover() }()
		f()
		return nil
	}
	whole := func() {
		t.Helper()
		b.together(ctx, b.company(ctx), b.company(ctx), b.company(ctx))
		eventually(t, "all is given back", func() bool { return b.p.Stat().AcquiredConns() == 0 })
	}

	// ridden has two ride while it panics, and returns how they ended. A busy machine has them
	// go alone: then they do it again.
	ridden := func(what *atomic.Bool) (a, b2 any) {
		t.Helper()
		for range 30 {
			l, err := b.p.Acquire(ctx)
			require.NoError(t, err)
			what.Store(true)
			rides := b.p.Stat().Lanes().Rides
			got := make(chan any)
			for range 2 {
				go func() { got <- panics(b.company(ctx)) }()
			}
			eventually(t, "both queue", func() bool { return b.p.Stat().Queued() == 2 })
			l.Release()
			a, b2 = <-got, <-got
			what.Store(false)
			if b.p.Stat().Lanes().Rides == rides+2 {
				break
			}
		}
		whole()
		return a, b2
	}

	// the start of a trace: the lane calls it, and logs what it does
	first, second := ridden(&m.start)
	assert.Nil(t, first)
	assert.Nil(t, second)
	assert.GreaterOrEqual(t, b.p.Stat().PanicCount(), int64(2))

	// the end of the trace, in the caller's goroutine: his panic, as in pgx
	first, second = ridden(&m.end)
	assert.Equal(t, "end", first)
	assert.Equal(t, "end", second)

	// an argument
	b.together(ctx, b.company(ctx), b.company(ctx), func() {
		var n int
		assert.NoError(t, b.scan(ctx, &n, "select 40 + $1::int", panicValuer{}))
	})
	release := b.hold(ctx)
	assert.Equal(t, "value", panics(func() { _ = b.scan(ctx, new(int), "select 40 + $1::int", panicValuer{panics: true}) }))
	release()
	whole()

	// who listens on the connection: the lane's flight is lost, its reads run again
	m.notice.Store(true)
	noisy := func() {
		var n int
		assert.NoError(t, b.scan(ctx, &n, "select noisy($1)", 3))
		assert.Equal(t, 3, n)
	}
	b.together(ctx, b.company(ctx), noisy, b.company(ctx), noisy)
	whole()
}
