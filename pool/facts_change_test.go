package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// What is proven of a statement holds as long as the catalogs are what they were. Reads ride all the time, and then what they
// read from is made to write. No read that begins a second later may ride any more: there its write would be stopped
// by the guard and swallowed.
func TestAChangeOfTheCatalogsEndsWhatWasProven(t *testing.T) {
	t.Parallel()
	const schema = `
		create table ledger (id int);
		create table nums as select id, 'name ' || id as name from generate_series(1, 200000) id;
		create unique index on nums (id);
		create table renamed as table nums;
		create unique index on renamed (id);
		create function planted(i int) returns text language plpgsql as $$ begin insert into public.ledger values (i); return 'x'; exception when others then return 'y'; end $$;
		create view shown as select id, name from nums;
		create view over as select * from shown;
		create schema evil;
		analyze;`
	for name, c := range map[string]struct{ sql, change string }{
		"a view is replaced":           {"select name from shown where id = $1", "create or replace view shown as select id, planted(id) as name from nums"},
		"a view below a view":          {"select name from over where id = $1", "create or replace view shown as select id, planted(id) as name from nums"},
		"a view takes a table's place": {"select name from renamed where id = $1", "alter table renamed rename to old; create view renamed as select id, planted(id) as name from old"},
		"search_path of the database": {"select name from shown where id = $1", `create view evil.shown as select id, public.planted(id) as name from public.nums;
			do $$ begin execute format('alter database %I set search_path = evil, public', current_database()); end $$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			see := newInspector(t, dsn)
			see.exec(schema)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, MaxConnLifetime: 200 * time.Millisecond})
			p.NeverSlow()
			ctx, cancel := context.WithCancel(bounded(t))
			var id atomic.Int64
			var changed atomic.Int64 // when the change was committed, in nanoseconds
			var mu sync.Mutex
			var late []int64
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					for ctx.Err() == nil {
						i := id.Add(1)
						since := changed.Load()
						is := since != 0 && time.Now().UnixNano()-since > int64(1200*time.Millisecond)
						var name string
						err := p.QueryRow(ctx, c.sql, i).Scan(&name)
						if ctx.Err() != nil {
							return
						}
						if assert.NoError(t, err) && is {
							mu.Lock()
							late = append(late, i)
							mu.Unlock()
						}
					}
				})
			}
			eventually(t, "they ride", func() bool { return p.Stat().Lanes().Rides > 1000 })
			see.exec(c.change)
			changed.Store(time.Now().UnixNano())
			rode := p.Stat().Lanes().Rides
			eventually(t, "enough", func() bool { mu.Lock(); defer mu.Unlock(); return len(late) > 960 })
			cancel()
			wg.Wait()
			assert.Positive(t, rode)
			missing := 0
			written := map[int64]bool{}
			rows, err := see.c.Query(context.Background(), "select distinct id from ledger")
			require.NoError(t, err)
			for rows.Next() {
				var i int64
				require.NoError(t, rows.Scan(&i))
				written[i] = true
			}
			for _, i := range late {
				if !written[i] {
					missing++
				}
			}
			t.Logf("%d reads a second after the change, %d did not write; %d rode unconfirmed", len(late), missing, p.Stat().Lanes().UnconfirmedRides)
			assert.Zero(t, missing)
		})
	}
}

// One transaction writes several rows of the catalogs, and its number and their OIDs are close to those of the transaction before. A sign in which the
// two were mixed with # did not change then: the rows' hashes only changed places.
func TestAChangeWhoseNumbersCancelOutIsSeen(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(bounded(t), pgtest.Options{Settings: map[string]string{"autovacuum": "off"}}) // of its own, so that nobody else uses numbers of transactions
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	see := newInspector(t, server.ConnString())
	see.exec(`create table nums as select id, 'name ' || id as name from generate_series(1, 100) id;
		create function planted(i int) returns text language plpgsql as 'begin perform set_config(''app.planted'', i::text, false); return i; end'`)
	ask := func(sql string) (n int64) {
		require.NoError(t, see.c.QueryRow(bounded(t), sql).Scan(&n))
		return n
	}
	var created, distance int64
	for distance == 0 || created&distance != 0 { // until created # distance is a later number
		see.exec("drop view if exists shown; create view shown as select id, name from nums")
		created = ask("select xmin::text::int8 from pg_class where relname = 'shown'")
		distance = ask("select oid::int8 # (select oid::int8 from pg_class where relname = 'shown') from pg_rewrite where ev_class = 'shown'::regclass")
	}
	p := newPoolAt(t, server.ConnString(), &pool.Config{MaxConns: 1})
	ctx, cancel := context.WithCancel(bounded(t))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, err := p.Exec(ctx, "select name from shown where id = $1", 1)
				assert.True(t, err == nil || ctx.Err() != nil, "%v", err)
			}
		})
	}
	eventually(t, "they ride", func() bool { return p.Stat().Lanes().Rides > 100 })
	for ask("select pg_current_xact_id()::text::int8") < created+distance-1 {
	}
	see.exec("create or replace view shown as select id, planted(id) as name from nums")
	require.Equal(t, created+distance, ask("select xmin::text::int8 from pg_class where relname = 'shown'"))
	eventually(t, "the change is seen", func() bool { return p.Stat().Lanes().CatalogChanges == 1 })
}

// Only a change of the catalogs is one: not writes, VACUUM, ANALYZE, or what others create. The more names there are, the larger
// is the sum that must be the same on both sides.
func TestWritesDoNotLookLikeAChangeOfTheCatalogs(t *testing.T) {
	t.Parallel()
	const tables = 30
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	var sqls []string
	for i := range tables {
		see.exec(fmt.Sprintf("create table t%d (id int primary key, name text check (name <> ''), at timestamptz default now()); create view v%[1]d as select * from t%[1]d; insert into t%[1]d values (1, 'one')", i))
		sqls = append(sqls, fmt.Sprintf("select * from t%d where id = $1", i), fmt.Sprintf("select lower(name) from v%d where id = $1", i), fmt.Sprintf("update t%d set name = name || 'x' where id = $1", i))
	}
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
	ctx, cancel := context.WithCancel(bounded(t))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, err := p.Exec(ctx, sqls[rand.IntN(len(sqls))], 1)
				assert.True(t, err == nil || ctx.Err() != nil, "%v", err)
			}
		})
	}
	for i := range 8 {
		see.exec(fmt.Sprintf("create table other%d (id int)", i))
		see.exec(fmt.Sprintf("vacuum analyze t%d", i))
		time.Sleep(200 * time.Millisecond) // the sign is asked for every 400 ms
	}
	cancel()
	wg.Wait()
	assert.Positive(t, p.Stat().Lanes().Rides)
	assert.Zero(t, p.Stat().Lanes().CatalogChanges)
}

// A standby's catalogs are watched as a writer's are: what is replayed there is noticed within a second, and writes are
// no change.
func TestTheCatalogsOfAStandbyAreWatched(t *testing.T) {
	t.Parallel()
	pair := newPair(t)
	see := pair.table(t, "t")
	see.exec("insert into t values (1); create view v as select id from t; create function f(i int) returns int language plpgsql as 'begin return i; end'; create table other (id int)")
	require.NoError(t, pair.CatchUp(bounded(t)))
	p := newPoolAt(t, pair.Standby.ConnString()+"&target_session_attrs=any", &pool.Config{MaxConns: 1})
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				var id int
				err := p.QueryRow(ctx, "select id from v where id = $1", 1).Scan(&id)
				assert.True(t, err == nil || ctx.Err() != nil, "%v", err)
			}
		})
	}
	eventually(t, "they ride", func() bool { return p.Stat().Lanes().Rides > 100 })
	for i := range 10 {
		see.exec(fmt.Sprintf("insert into other values (%d)", i))
		time.Sleep(100 * time.Millisecond)
	}
	assert.Zero(t, p.Stat().Lanes().CatalogChanges)
	rode := p.Stat().Lanes().Rides
	eventually(t, "they still ride", func() bool { return p.Stat().Lanes().Rides > rode })
	see.exec("create or replace view v as select f(id) as id from t")
	require.NoError(t, pair.CatchUp(bounded(t)))
	time.Sleep(1200 * time.Millisecond)
	rode = p.Stat().Lanes().Rides
	eventually(t, "it was seen", func() bool { return p.Stat().Lanes().CatalogChanges == 1 })
	cancel()
	wg.Wait()
	assert.Equal(t, rode, p.Stat().Lanes().Rides)
}

// An extension's function that an operator or an aggregate runs is in no text. What it is counts all the same, and when it is replaced that is seen.
func TestFunctionsBehindOperatorsAndAggregatesCount(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(`create table nums as select id from generate_series(1, 10) id; create table ledger (id int);
		create function plus(int, int) returns int language sql immutable as 'select $1 + $2';
		create operator <+> (function = plus, leftarg = int, rightarg = int);
		create aggregate total(int) (sfunc = plus, stype = int, initcond = '0');
		create function notes(int, int) returns int language plpgsql as 'begin insert into ledger values ($2); return $2; end';
		create aggregate noted(int) (sfunc = notes, stype = int, initcond = '0');
		alter extension plpgsql add function plus(int, int); alter extension plpgsql add operator <+> (int, int);
		alter extension plpgsql add aggregate total(int); alter extension plpgsql add aggregate noted(int)`)
	const operator, aggregate = "select id <+> 1 from nums", "select total(id) from nums"
	for sql, want := range map[string]string{operator: "", aggregate: "", "select noted(id) from nums": "function"} {
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
		why, err := p.Findings(ctx, sql)
		require.NoError(t, err)
		assert.Equal(t, want, why, sql)
		if want != "" {
			continue
		}
		_, right, err := p.SignTook(ctx)
		require.NoError(t, err)
		assert.True(t, right, sql)
		see.exec("create or replace function plus(int, int) returns int language plpgsql immutable as 'begin return $1 + $2; end'")
		_, right, err = p.SignTook(ctx)
		require.NoError(t, err)
		assert.False(t, right, sql)
		see.exec("create or replace function plus(int, int) returns int language sql immutable as 'select $1 + $2'")
	}
}
