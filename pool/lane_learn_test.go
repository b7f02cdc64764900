package pool_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/pool"
)

// Who makes a new text for each statement does not fill the server's memory with what
// was prepared to look at them.
func TestManyTextsLeaveFewPreparedStatements(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		most int
	}{"harmless": {"select %d", 256 + 32}, "refused": {"select %d, n from v", 32}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			b := newLaneLab(t, nil)
			b.exec("create sequence s; create view v as select nextval('s') as n")
			const n = 600
			var wg sync.WaitGroup
			for worker := range 4 { // more than there are connections: all but the first find none idle
				wg.Go(func() {
					for i := range n / 4 {
						_, err := b.p.Exec(ctx, fmt.Sprintf(c.text, i*4+worker))
						assert.NoError(t, err)
					}
				})
			}
			wg.Wait()
			assert.Greater(t, b.p.Stat().Lanes().Alone["new"]+b.p.Stat().Lanes().Alone["function"], int64(n/2))
			eventually(t, "it was looked at", func() bool { return b.p.Stat().IdleConns() > 0 })
			var prepared int
			assert.NoError(t, b.scan(ctx, &prepared, "select count(*) from pg_prepared_statements where name like 'lmipool%'"))
			assert.LessOrEqual(t, prepared, c.most+1)
		})
	}
}

// A flight that fails takes none of the tries away that a statement has to find a good
// connection.
func TestARideIsNoTryToFindAConnection(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	var b *laneLab
	var kill atomic.Bool
	b = newLaneLab(t, &pool.Config{
		LaneFunctions: []string{"kills"},
		ShouldPing: func(_ context.Context, s pgxpool.ShouldPingParams) bool {
			if kill.CompareAndSwap(true, false) {
				b.exec(fmt.Sprintf("select pg_terminate_backend(%d, 5000)", s.Conn.PgConn().PID()))
			}
			return true
		},
	})
	b.exec("create sequence once")
	b.exec(`create function kills(bool) returns text language plpgsql as $$ begin
		if $1 and current_setting('transaction_read_only') = 'on' then perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(1); end if;
		return 'alive'; end $$`)
	b.teach(ctx, "select kills($1)", false)
	rides := func() {
		var s string
		assert.NoError(t, b.scan(ctx, &s, "select kills($1)", true))
		assert.Equal(t, "alive", s)
	}
	release := b.hold(ctx)
	var wg sync.WaitGroup
	b.queued(&wg, rides)
	b.queued(&wg, func() { rides() })
	wg.Go(func() {
		eventually(t, "they have been thrown out", func() bool { return b.p.Stat().Lanes().Flights == 1 })
		kill.Store(true)
	})
	release()
	wg.Wait()
	assert.EqualValues(t, 2, b.p.Stat().Lanes().Reruns)
}

// A look does not wait for a lock, which would have the connection out, and lost when
// the patience ends.
func TestALookDoesNotWaitForLocks(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"pg_sleep"}})
	b.exec("create table t as select 7 as id")
	const sql = "select id from t where id = $1"
	b.together(ctx, func() {
		rows, err := b.p.Query(ctx, sql, 7) // holds a lock on t until the rows are closed
		if !assert.NoError(t, err) {
			return
		}
		assert.True(t, rows.Next())
		b.exec("begin; lock table t in access exclusive mode") // no row is left to read: it is granted
		rows.Close()
	})
	eventually(t, "the look is over", func() bool { return b.p.Stat().IdleConns() > 0 })
	b.exec("commit")
	assert.EqualValues(t, 1, b.p.Stat().NewConnsCount())
	b.rideInCompany(ctx, sql, []any{7}, []string{"id"}, []any{int32(7)})
}
