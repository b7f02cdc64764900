package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// Reads of several tenants ride together, and each sees its own rows only; so do those of
// nobody, who see none.
func TestReadsOfManyTenantsRideTogether(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newTenants(t, pool.Config{MaxConns: 1})
	lab := &laneLab{t: t, p: b.Pool, see: b.see}
	for sql, want := range map[string]func(i int) string{
		"select string_agg(tenant, ',') from docs where id < $1": func(i int) string { return fmt.Sprintf("t%d,t%d", i, i) },
		"select sum(tenant)::text from strict where id < $1":     func(i int) string { return fmt.Sprint(2 * i) },
		"select current_setting('app.tenant') || $1::int":        func(i int) string { return fmt.Sprintf("t%d3", i) },
	} {
		db := func(i int) *pool.Bound {
			return b.With(map[string]string{"app.number": fmt.Sprint(i), "app.tenant": fmt.Sprint("t", i)})
		}
		for range 2 {
			lab.together(ctx, func() { assert.Equal(t, want(1), value(ctx, db(1), sql, 3)) })
			b.idle(t)
		}
		before := b.Stat()
		var fs []func()
		for i := range 20 {
			fs = append(fs, func() { assert.Equal(t, want(i), value(ctx, db(i), sql, 3), sql) })
		}
		lab.together(ctx, fs...)
		after := b.Stat()
		assert.EqualValues(t, 20, after.Lanes().Rides-before.Lanes().Rides, "%s: %v", sql, after.Lanes().Alone)
		assert.EqualValues(t, 1, after.Lanes().Flights-before.Lanes().Flights)
		assert.EqualValues(t, 0, after.Lanes().Reruns)
		assert.Equal(t, before.Invocations().Resets, after.Invocations().Resets)
	}

	// That it fails without its setting, and that a look at it does, is not held against it.
	const strict = "select sum(tenant)::text from strict where id = $1"
	for range 3 {
		lab.together(ctx, func() { assert.Contains(t, value(ctx, b, strict, 1), "SQLSTATE") })
		b.idle(t)
	}
	one := func() {
		assert.Equal(t, "1", value(ctx, b.With(map[string]string{"app.number": "1"}), strict, 1))
	}
	for range 2 {
		lab.together(ctx, one)
		b.idle(t)
	}
	before := b.Stat().Lanes().Rides
	lab.together(ctx, one, one)
	assert.EqualValues(t, before+2, b.Stat().Lanes().Rides, "%v", b.Stat().Lanes().Alone)

	// Without the setting: docs has no rows, strict is an error, on a lane as alone.
	const none = "select count(*)::text || current_setting('app.tenant', true) from docs"
	for range 2 {
		lab.together(ctx, func() { value(ctx, b, none) })
		b.idle(t)
	}
	rides := b.Stat().Lanes().Rides
	lab.together(ctx, func() { assert.Equal(t, "0", value(ctx, b, none)) }, func() { assert.Equal(t, "0", value(ctx, b, none)) })
	assert.EqualValues(t, rides+2, b.Stat().Lanes().Rides, "%v", b.Stat().Lanes().Alone)
}

// A setting that is PostgreSQL's own may change what a text means, or undo the guard.
func TestSettingsOfPostgreSQLsOwnGoAlone(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newTenants(t, pool.Config{MaxConns: 1})
	lab := &laneLab{t: t, p: b.Pool, see: b.see}
	at := func(schema string) func() {
		return func() {
			assert.Equal(t, schema, value(ctx, b.With(map[string]string{"search_path": schema}), "select v from here"))
		}
	}
	for range 3 {
		lab.together(ctx, at("x"), at("y"), at("x"), func() {
			other := b.With(map[string]string{"role": "other_" + b.role})
			assert.Equal(t, "other_"+b.role, value(ctx, other, "select current_user::text"))
		}, func() {
			assert.Equal(t, b.role, value(ctx, b, "select current_user::text"))
		}, func() {
			short := b.With(map[string]string{"statement_timeout": "30ms"})
			assert.ErrorContains(t, short.QueryRow(ctx, "select pg_sleep(10)::text").Scan(new(string)), "57014")
		}, func() {
			only := b.With(map[string]string{"transaction_read_only": "on"})
			_, err := only.Exec(ctx, "insert into seen values ('x')")
			assert.ErrorContains(t, err, "25006")
		})
	}
	assert.Zero(t, b.Stat().Lanes().Rides)
	assert.Positive(t, b.Stat().Lanes().Alone["settings"])
	assert.Equal(t, "off 0 \"$user\", public "+b.role, value(ctx, b,
		"select concat_ws(' ', current_setting('transaction_read_only'), current_setting('statement_timeout'), current_setting('search_path'), current_user)"))
}

// What the guard stops runs again alone, with its settings.
func TestWhatRunsAgainAloneHasItsSettings(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newTenants(t, pool.Config{MaxConns: 1, LaneFunctions: []string{"writes"}})
	b.see.exec("create function writes(int) returns text language sql as $$ insert into seen values (current_setting('app.tenant', true), 't' || $1) returning who $$")
	lab := &laneLab{t: t, p: b.Pool, see: b.see}
	const sql = "select writes($1)"
	lab.together(ctx, func() { value(ctx, b.With(tenant("t0")), sql, 0) })
	b.idle(t)
	lab.teach(ctx, "select 40 + $1::int", 2)
	lab.together(ctx, func() { assert.Equal(t, "t1", value(ctx, b.With(tenant("t1")), sql, 1)) }, lab.company(ctx),
		func() { assert.Equal(t, "t2", value(ctx, b.With(tenant("t2")), sql, 2)) })
	assert.Positive(t, b.Stat().Lanes().GuardRefusals)
	assert.Positive(t, b.Stat().Lanes().Reruns)
	assert.Equal(t, 3, b.see.count("select count(distinct who) from seen"))
}

// 64 invocations of 20 tenants on two connections, with whatever may go wrong: nobody sees
// a row of another's, and in the end no connection has anything of it.
func TestStormOfTenants(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	b := newTenants(t, pool.Config{MaxConns: 2, LaneFunctions: []string{"writes"}})
	b.see.exec("create function writes(int) returns text language sql as $$ insert into seen values (current_setting('app.tenant', true), 't' || $1) returning who $$")
	turns := 150
	if testing.Short() {
		turns = 30
	}
	var wg sync.WaitGroup
	var foreign, fell atomic.Int64
	for g := range 64 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range turns {
				if t.Failed() {
					return
				}
				b.turn(ctx, t, r, &foreign, &fell)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, foreign.Load(), "rows of somebody else's")
	s := b.Stat()
	t.Logf("rides %d in %d flights, alone %v, reruns %d, failed %d, resets %d, connections %d", s.Lanes().Rides, s.Lanes().Flights, s.Lanes().Alone, s.Lanes().Reruns, fell.Load(), s.Invocations().Resets, s.NewConnsCount())
	assert.Greater(t, s.Lanes().Rides, int64(turns))
	eventually(t, "all is done", func() bool { return b.Stat().AcquiredConns() == 0 })
	var leases []*pool.Lease
	for range b.Stat().TotalConns() {
		l, err := b.Acquire(ctx)
		require.NoError(t, err)
		leases = append(leases, l)
		assert.Equal(t, " off 0", value(ctx, l, "select coalesce(current_setting('app.tenant', true), '') || ' ' || current_setting('transaction_read_only') || ' ' || current_setting('statement_timeout')"))
		assert.Equal(t, "0", value(ctx, l, "select count(*)::text from docs"))
	}
	for _, l := range leases {
		l.Release()
	}
	assert.Zero(t, b.see.count("select count(*) from seen where who is null or v <> who"), "written for whom it was")
}

// turn is something at random, by a tenant or by nobody.
func (b *tenants) turn(ctx context.Context, t *testing.T, r *rand.Rand, foreign, fell *atomic.Int64) {
	n := r.IntN(20)
	me := fmt.Sprint("t", n)
	db := b.With(map[string]string{"app.tenant": me, "app.number": fmt.Sprint(n)})
	if r.IntN(10) == 0 {
		db = b.With(tenant("t19")).With(map[string]string{"app.tenant": me, "app.number": fmt.Sprint(n)})
	}
	mine := func(seen []string, err error) {
		if err != nil {
			if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				assert.NoError(t, err)
			}
			fell.Add(1)
			return
		}
		for _, s := range seen {
			if s != me {
				foreign.Add(1)
			}
		}
		assert.NotEmpty(t, seen)
	}
	query := func(ctx context.Context, q interface {
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	}, sql string, args ...any,
	) ([]string, error) {
		rows, err := q.Query(ctx, sql, args...)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[string])
	}
	switch k := r.IntN(100); {
	case k < 35:
		mine(query(ctx, db, "select tenant from docs where id < $1", 1+r.IntN(3)+1))
	case k < 50:
		mine(query(ctx, db, "select 't' || tenant from strict where id < $1", 3))
	case k < 60: // nobody
		seen, err := query(ctx, b, "select tenant from docs where id < $1", 3)
		assert.NoError(t, err)
		foreign.Add(int64(len(seen)))
		if v := value(ctx, b, whoAmI); v != "" {
			foreign.Add(1)
		}
	case k < 65: // its own error
		err := db.QueryRow(ctx, "select 1 / (id - $1) from docs where id = $1", 2).Scan(new(int))
		assert.ErrorContains(t, err, "22012")
	case k < 70: // nobody's error
		err := b.QueryRow(ctx, "select 1 / $1::int", 0).Scan(new(int))
		assert.ErrorContains(t, err, "22012")
	case k < 78: // somebody gives up
		short, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(3000))*time.Microsecond)
		mine(query(short, db, "select tenant from docs where id < $1", 3))
		cancel()
	case k < 79:
		short, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(3000))*time.Microsecond)
		_, err := query(short, db, "select tenant from docs, pg_sleep(0.01) where id < $1", 3)
		_ = err
		cancel()
	case k < 84:
		mine(query(ctx, db, "update docs set v = $1 returning tenant", "w"))
	case k < 88:
		mine(query(ctx, db, "select tenant from docs where id < $1 and writes($2) is not null", 2, n)) // writes t<n>
	case k < 94:
		err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			mine(query(ctx, tx, "select tenant from docs"))
			if r.IntN(2) == 0 {
				return errRollback
			}
			return nil
		})
		if !errors.Is(err, errRollback) {
			assert.NoError(t, err)
		}
	default:
		var q pgx.Batch
		var seen []string
		for range 1 + r.IntN(3) {
			q.Queue("select tenant from docs where id < $1", 3).Query(func(rows pgx.Rows) error {
				s, err := pgx.CollectRows(rows, pgx.RowTo[string])
				seen = append(seen, s...)
				return err
			})
		}
		err := db.SendBatch(ctx, &q).Close()
		mine(seen, err)
	}
}

var errRollback = errors.New("roll back")
