package pool_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// laneLab is a pool with one connection, in which a test decides what waits when
// the connection comes free.
type laneLab struct {
	t   testing.TB
	p   *pool.Pool
	dsn string
	see *inspector
}

func newLaneLab(t testing.TB, c *pool.Config) *laneLab {
	t.Helper()
	if c == nil {
		c = &pool.Config{}
	}
	c.MaxConns = 1
	dsn := pgtest.Database(t)
	b := &laneLab{t: t, p: newPoolAt(t, dsn, c), dsn: dsn, see: newInspector(t, dsn)}
	b.p.NeverSlow()
	b.p.NeverOld()
	return b
}

func (b *laneLab) exec(sql string) {
	b.t.Helper()
	_, err := b.see.c.Exec(context.Background(), sql)
	require.NoError(b.t, err)
}

// hold takes the connection, so that whatever comes now waits until it is released.
func (b *laneLab) hold(ctx context.Context) (release func()) {
	b.t.Helper()
	l, err := b.p.Acquire(ctx)
	require.NoError(b.t, err)
	return l.Release
}

// queued starts f and returns when it waits for the connection.
func (b *laneLab) queued(wg *sync.WaitGroup, f func()) {
	b.t.Helper()
	before := b.p.Stat().Queued()
	wg.Go(f)
	eventually(b.t, "it queues", func() bool { return b.p.Stat().Queued() > before })
}

// together queues all of fs behind a held connection, in this order, and lets them go.
func (b *laneLab) together(ctx context.Context, fs ...func()) {
	b.t.Helper()
	release := b.hold(ctx)
	var wg sync.WaitGroup
	for _, f := range fs {
		b.queued(&wg, f)
	}
	release()
	wg.Wait()
}

// teach has the pool know sql, which finds no idle connection twice: it runs alone
// the first time and is looked at.
func (b *laneLab) teach(ctx context.Context, sql string, args ...any) {
	b.t.Helper()
	b.together(ctx, func() {
		rows, err := b.p.Query(ctx, sql, args...)
		if assert.NoError(b.t, err, sql) {
			rows.Close()
			assert.NoError(b.t, rows.Err(), sql)
		}
	})
	eventually(b.t, "it was looked at", func() bool { return b.p.Stat().IdleConns() > 0 })
}

func TestReadsThatQueueTogetherRideTogether(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t as select id, 'name ' || id as name from generate_series(1, 100) id")
	const sql = "select name from t where id = $1"
	b.teach(ctx, sql, 1)

	var fs []func()
	for i := range 10 {
		fs = append(fs, func() {
			var name string
			assert.NoError(t, b.p.QueryRow(ctx, sql, i+1).Scan(&name))
			assert.Equal(t, fmt.Sprint("name ", i+1), name)
		})
	}
	for round := range 4 {
		b.together(ctx, fs...)
		s := b.p.Stat()
		assert.EqualValues(t, 10*(round+1), s.Lanes().Rides, "%v", s.Lanes().Alone)
		assert.EqualValues(t, round+1, s.Lanes().Flights)
		assert.Zero(t, s.Lanes().Reruns)
	}
	assert.Equal(t, map[string]int64{"new": 1}, b.p.Stat().Lanes().Alone)
}
