package pool_test

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// raced reports whether the race detector is on. With it sync.Pool drops what it is given at random, so that
// allocations cannot be counted.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

const pointRead = "select name from things where id = $1"

// things is a database with a table of 100 rows.
func things(t *testing.T) (dsn string) {
	dsn = pgtest.Database(t)
	newInspector(t, dsn).exec("create table things as select id, 'name ' || id as name from generate_series(1, 100) id; create unique index on things (id); analyze things")
	return dsn
}

// TestAnIdlePoolAllocatesNoMoreThanItDid holds what one caller's call allocates when a connection is idle, pgx's own
// allocations included. A bound that has become too large is lowered; one that is too small is an allocation too many.
func TestAnIdlePoolAllocatesNoMoreThanItDid(t *testing.T) { // not in parallel: it counts the whole process's
	if raced() {
		t.Skip("the race detector changes how much is allocated")
	}
	for name, observers := range map[string][]any{"no observers": nil, "an observer of everything": {blind{}}} {
		t.Run(name, func(t *testing.T) {
			p := newPoolAt(t, things(t), &pool.Config{MaxConns: 2, Observers: observers})
			allocatesNoMore(context.Background(), t, p, 0)
			scoped, scope := p.OpenScope(context.Background(), "an invocation", time.Time{})
			defer scope.End()
			allocatesNoMore(context.WithoutCancel(scoped), t, p, 1) // pgx allocates for a ctx that can end
		})
	}
	if unsafe.Sizeof(uintptr(0)) == 8 {
		assert.LessOrEqual(t, pool.LeaseSize, uintptr(640), "a lease has outgrown its allocator's size class: the next is 704")
	}
}

// allocatesNoMore holds what calls with ctx allocate. In a scope each call has one allocation more.
func allocatesNoMore(ctx context.Context, t *testing.T, p *pool.Pool, more float64) {
	t.Helper()
	bound := p.With(tenant("t1"))
	var s string
	var n int
	for _, way := range []struct {
		name string
		most float64
		do   func() error
	}{
		{"Acquire and Release", 1, func() error {
			l, err := p.Acquire(ctx)
			if err == nil {
				l.Release()
			}
			return err
		}},
		{"QueryRow", 8, func() error { return p.QueryRow(ctx, pointRead, 1).Scan(&s) }},
		{"Exec", 3, func() error {
			_, err := p.Exec(ctx, "update things set name = $2 where id = $1", 1, "name")
			return err
		}},
		{"Query of 20 rows", 29, func() error {
			rows, err := p.Query(ctx, "select id, name from things where id <= $1", 20)
			if err != nil {
				return err
			}
			_, err = pgx.ForEachRow(rows, []any{&n, &s}, func() error { return nil })
			return err
		}},
		{"Bound.QueryRow", 11, func() error { return bound.QueryRow(ctx, pointRead, 1).Scan(&s) }},
		{"InTx of one statement", 27, func() error {
			return pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				return tx.QueryRow(ctx, pointRead, 1).Scan(&s)
			})
		}},
		{"SendBatch of 2", 35, func() error {
			b := &pgx.Batch{}
			b.Queue(pointRead, 1)
			b.Queue(pointRead, 2)
			return p.SendBatch(ctx, b).Close()
		}},
	} {
		got := fewest(func() float64 {
			return testing.AllocsPerRun(100, func() {
				if err := way.do(); err != nil {
					t.Fatal(way.name, err)
				}
			})
		})
		t.Logf("%s: %v allocations", way.name, got)
		assert.LessOrEqual(t, got, way.most+more, way.name)
	}
}

// TestARideAllocatesNoMoreThanItDid is the same for a read that found no idle connection and shared one. Callers that wait
// for each other do not repeat to the allocation, so the bound has room for half an allocation more.
func TestARideAllocatesNoMoreThanItDid(t *testing.T) {
	if raced() {
		t.Skip("the race detector changes how much is allocated")
	}
	for name, observers := range map[string][]any{"no observers": nil, "an observer of everything": {blind{}}} {
		t.Run(name, func(t *testing.T) {
			p := newPoolAt(t, things(t), &pool.Config{MaxConns: 1, Observers: observers})
			aRideAllocatesNoMore(bounded(t), t, p)
			scoped, scope := p.OpenScope(bounded(t), "an invocation", time.Time{})
			defer scope.End()
			aRideAllocatesNoMore(scoped, t, p)
		})
	}
}

func aRideAllocatesNoMore(ctx context.Context, t *testing.T, b *pool.Pool) {
	t.Helper()
	const callers, each, most = 32, 100, 23.7
	b.NeverSlow()
	b.NeverOld()
	crowd := func() {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				var s string
				for i := range each {
					if err := b.QueryRow(ctx, pointRead, i%100+1).Scan(&s); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	crowd() // learns the statement, and fills what is kept for the next
	got := fewest(func() float64 {
		before, rode := mallocs(), b.Stat().Lanes().Rides
		crowd()
		require.Greater(t, b.Stat().Lanes().Rides-rode, int64(callers*each*9/10), "reads that rode")
		return float64(mallocs()-before) / (callers * each)
	})
	t.Logf("a ride: %.2f allocations", got)
	assert.LessOrEqual(t, got, most)
}

// fewest is the least of five measurements: what the pool does in the background allocates too, now and then.
func fewest(measure func() float64) float64 {
	least := measure()
	for range 4 {
		least = min(least, measure())
	}
	return least
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
