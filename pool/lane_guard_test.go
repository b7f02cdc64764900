package pool_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// scan runs a query for one value.
func (b *laneLab) scan(ctx context.Context, dest any, sql string, args ...any) error {
	return b.p.QueryRow(ctx, sql, args...).Scan(dest)
}

// company is a read to ride with.
func (b *laneLab) company(ctx context.Context) func() {
	return func() {
		var n int
		assert.NoError(b.t, b.scan(ctx, &n, "select 40 + $1::int", 2))
		assert.Equal(b.t, 42, n)
	}
}

func (b *laneLab) settings() string {
	b.t.Helper()
	ctx := context.Background()
	l, err := b.p.Acquire(ctx)
	require.NoError(b.t, err)
	defer l.Release()
	var s string
	require.NoError(b.t, l.QueryRow(ctx, "select concat_ws(' ', current_setting('default_transaction_read_only'), current_setting('transaction_read_only'), current_setting('statement_timeout'), current_setting('lock_timeout'))").Scan(&s))
	return s
}

// A function that somebody promised to be harmless, and that is not, is stopped by
// the guard, runs again alone, once, and does not ride any more.
func TestTheGuardStopsAWriteThatRides(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"writes"}})
	b.exec("create table t (id int)")
	b.exec("create function writes(int) returns int language sql as 'insert into t values ($1) returning id'")
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, "select writes($1)", 0)
	for i := 1; i <= 2; i++ {
		b.together(ctx, b.company(ctx), func() {
			var n int
			assert.NoError(t, b.scan(ctx, &n, "select writes($1)", i))
			assert.Equal(t, i, n)
		}, b.company(ctx))
	}
	s := b.p.Stat()
	assert.EqualValues(t, 1, s.Lanes().GuardRefusals)
	assert.EqualValues(t, 1, s.Lanes().Reruns)
	assert.EqualValues(t, 1, s.Lanes().Alone["guard"])
	assert.EqualValues(t, 5, s.Lanes().Rides)
	assert.Equal(t, 3, b.see.count("select count(*) from t"), "each exactly once")
	assert.Equal(t, "off off 0 0", b.settings())
}

func TestTheGuardStopsWhatTakesLongAndItRunsAlone(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"pg_sleep"}})
	b.teach(ctx, "select 40 + $1::int", 2)
	const sql = "select $2::text from pg_sleep($1)"
	b.teach(ctx, sql, 0.0, "taught")
	b.together(ctx, b.company(ctx), func() {
		var s string
		assert.NoError(t, b.scan(ctx, &s, sql, 0.3, "slept"))
		assert.Equal(t, "slept", s)
	}, b.company(ctx))
	assert.EqualValues(t, 1, b.p.Stat().Lanes().GuardRefusals)
	assert.Equal(t, "off off 0 0", b.settings())
}

// DeadlineExceeded is the clock's word, never made out of the guard's 57014.
func TestADeadlineOnALaneIsJudgedByTheClock(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"pg_sleep"}})
	b.teach(ctx, "select 40 + $1::int", 2)
	const sql = "select $2::text from pg_sleep($1)"
	b.teach(ctx, sql, 0.0, "taught")
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	b.together(ctx, b.company(ctx), func() {
		start := time.Now()
		short, cancel := context.WithTimeout(short, 400*time.Millisecond)
		defer cancel()
		err := b.scan(short, new(string), sql, 30.0, "")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.GreaterOrEqual(t, time.Since(start), 400*time.Millisecond)
	}, b.company(ctx))
	assert.EqualValues(t, 1, b.p.Stat().Lanes().GuardRefusals)
}

func TestTheGuardDoesNotWaitForLocks(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t as select 7 as id")
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, "select id from t")
	b.exec("begin")
	b.exec("lock table t in access exclusive mode")
	var unlock sync.WaitGroup
	unlock.Go(func() {
		for b.p.Stat().Lanes().GuardRefusals == 0 && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		b.exec("commit")
	})
	defer unlock.Wait()
	b.together(ctx, b.company(ctx), func() {
		var n int
		assert.NoError(t, b.scan(ctx, &n, "select id from t"))
		assert.Equal(t, 7, n)
	}, b.company(ctx))
	assert.EqualValues(t, 1, b.p.Stat().Lanes().GuardRefusals, "%v", b.p.Stat().Lanes().Alone)
}

// A read that waits for a lock of its own caller's transaction, which nobody can
// see, keeps nobody else: it leaves the lane after lock_timeout, and waits alone.
func TestALaneDoesNotWaitForItsOwnCallersTransaction(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, Logger: (&logs{}).logger()})
	p.NeverSlow()
	b := &laneLab{t: t, p: p, dsn: dsn, see: newInspector(t, dsn)}
	b.exec("create table t as select 7 as id")
	other := b.hold(ctx) // so that there is one connection to learn on
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, "select id from t")
	other()

	tx, err := p.Begin(ctx) // no scope and no InTx say whose it is
	require.NoError(t, err)
	defer tx.Rollback(ctx)
	_, err = tx.Exec(ctx, "lock table t in access exclusive mode")
	require.NoError(t, err)
	b.together(ctx, b.company(ctx), func() {
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		assert.ErrorIs(t, b.scan(short, new(int), "select id from t"), context.DeadlineExceeded)
	}, b.company(ctx))
	assert.EqualValues(t, 1, p.Stat().Lanes().GuardRefusals, "%v", p.Stat().Lanes().Alone)

	// With InTx it does not even get there.
	refused := p.Stat().Lanes().Alone["asked"]
	require.NoError(t, tx.Rollback(ctx))
	require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(inner context.Context, tx pgx.Tx) error {
		b.together(ctx, b.company(ctx), b.company(inner))
		return nil
	}))
	assert.Equal(t, refused+1, p.Stat().Lanes().Alone["asked"])
}

// The session guard comes with the second group, and goes before anybody else gets
// the connection: what AfterConnect has set is there again.
func TestTheSessionGuardLeavesAfterConnectsValues(t *testing.T) {
	t.Parallel()
	for _, landing := range []bool{false, true} {
		ctx := bounded(t)
		b := newLaneLab(t, &pool.Config{AfterConnect: exec("set statement_timeout = '5s'; set lock_timeout = '20ms'; set default_transaction_read_only = off")})
		const sql = "select $1::int"
		b.teach(ctx, sql, 1)
		var fs []func()
		for i := range 100 {
			fs = append(fs, func() {
				var n int
				assert.NoError(t, b.scan(ctx, &n, sql, i))
				assert.Equal(t, i, n)
			})
		}
		seen := ""
		if landing { // a lease waits behind the last group
			fs = append(fs, func() { seen = b.settings() })
		}
		b.together(ctx, fs...)
		if !landing {
			seen = b.settings()
		}
		assert.Equal(t, "off off 5s 20ms", seen)
		assert.EqualValues(t, 100, b.p.Stat().Lanes().Rides)
		assert.EqualValues(t, 4, b.p.Stat().Lanes().Flights)
	}
}

// exec makes an AfterConnect of statements.
func exec(sql string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, sql)
		return err
	}
}

// A lane's statements never get longer than the session's own statement_timeout.
func TestTheGuardIsNeverLaxerThanTheSession(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"current_setting"}, AfterConnect: exec("set statement_timeout = '70ms'")})
	const sql = "select current_setting('statement_timeout') || current_setting('lock_timeout') || current_setting('transaction_read_only')"
	b.teach(ctx, sql)
	var fs []func()
	for range 70 {
		fs = append(fs, func() {
			var s string
			assert.NoError(t, b.scan(ctx, &s, sql))
			assert.Equal(t, "70ms50mson", s)
		})
	}
	b.together(ctx, fs...)
	assert.EqualValues(t, 70, b.p.Stat().Lanes().Rides)
}

// Whoever takes the session guard off closes the lane.
func TestAStatementThatTurnsTheGuardOffClosesTheLane(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	log := &logs{}
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"evil"}, Logger: log.logger()})
	b.exec("create function evil() returns text language plpgsql as $$ declare r text; begin execute 'select set' || '_config(''default_transaction_read_only'', ''off'', false)' into r; return r; end $$")
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, "select evil()")
	var fs []func()
	for range 70 { // groups of 32: the session guard is on in the third
		fs = append(fs, b.company(ctx))
	}
	fs = append(fs, func() { assert.NoError(t, b.scan(ctx, new(string), "select evil()")) }, b.company(ctx))
	b.together(ctx, fs...)
	assert.True(t, strings.Contains(strings.Join(log.lines(), "\n"), "changed default_transaction_read_only"), "%v", log.lines())
	assert.Equal(t, "off off 0 0", b.settings())
	assert.EqualValues(t, 2, b.p.Stat().NewConnsCount())
}

// After DISCARD ALL the guard's own statement is gone. What is behind it in its
// segment must not run without it.
func TestNothingRidesBehindAGuardThatFailed(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"readonly"}, Isolation: pool.Off}) // else DISCARD ALL costs the connection
	b.exec("create table t (on_lane text)")
	b.exec("create function readonly() returns text language plpgsql as $$ begin return current_setting('transaction_read_only') || current_setting('statement_timeout'); end $$")
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, "select readonly()")
	ask := func() {
		var s string
		assert.NoError(t, b.scan(ctx, &s, "select readonly()"))
		assert.Contains(t, []string{"on100ms", "off0"}, s, "guarded on a lane, or alone")
	}
	b.together(ctx, ask, ask, ask)
	require.EqualValues(t, 3, b.p.Stat().Lanes().Rides)
	l, err := b.p.Acquire(ctx)
	require.NoError(t, err)
	_, err = l.Exec(ctx, "discard all")
	require.NoError(t, err)
	l.Release()
	b.together(ctx, ask, ask, ask)
	assert.EqualValues(t, 3, b.p.Stat().Lanes().Reruns, "all of them: none had an answer under the guard")
	b.together(ctx, ask, ask, ask)
	assert.EqualValues(t, 3, b.p.Stat().Lanes().Reruns, "healed")
}
