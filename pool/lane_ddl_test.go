package pool_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// rideInCompany asks sql three times at once, repeatedly until they rode (a busy
// machine makes a statement slow for once), and checks every answer. One may be the
// error that pgx has for its own cached plan, once: who rode into a stale plan goes
// on alone, and does what pgx does.
func (b *laneLab) rideInCompany(ctx context.Context, sql string, args []any, columns []string, rows ...[]any) {
	b.t.Helper()
	var stale atomic.Int32
	f := func() {
		r, _ := b.p.Query(ctx, sql, args...)
		var names []string
		var got [][]any
		for r.Next() {
			v, err := r.Values()
			assert.NoError(b.t, err)
			got = append(got, v)
		}
		var pg *pgconn.PgError
		if errors.As(r.Err(), &pg) && (pg.Code == "0A000" || pg.Code == "26000") && stale.Add(1) == 1 {
			return
		}
		for _, f := range r.FieldDescriptions() {
			names = append(names, f.Name)
		}
		if assert.NoError(b.t, r.Err(), sql) {
			assert.Equal(b.t, columns, names, sql)
			assert.Equal(b.t, rows, got, sql)
		}
	}
	for range 40 {
		before := b.p.Stat()
		b.saturate(ctx, []func(){f, f, f})
		after := b.p.Stat()
		if b.t.Failed() || after.Lanes().Rides == before.Lanes().Rides+3 && after.Lanes().Reruns == before.Lanes().Reruns {
			return
		}
	}
	b.t.Errorf("%s does not ride: %v", sql, b.p.Stat().Lanes().Alone)
}

// What a statement means changes under the lane that has it prepared.
func TestLanesFollowDDL(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t (id int, n int); insert into t values (1, 1065353216)") // the bits of float4 1
	const all, one = "select * from t where id = $1", "select n from t"
	b.rideInCompany(ctx, all, []any{1}, []string{"id", "n"}, []any{int32(1), int32(1065353216)})
	b.rideInCompany(ctx, one, nil, []string{"n"}, []any{int32(1065353216)})
	for _, change := range []struct {
		ddl     string
		columns []string
		row     []any
		n       any
	}{
		{"alter table t add column more text default 'x'", []string{"id", "n", "more"}, []any{int32(1), int32(1065353216), "x"}, int32(1065353216)},
		{"alter table t drop column more", []string{"id", "n"}, []any{int32(1), int32(1065353216)}, int32(1065353216)},
		{"alter table t alter column n type float4 using 2.5", []string{"id", "n"}, []any{int32(1), float32(2.5)}, float32(2.5)}, // of the same width
		{"alter table t alter column n type text using 'now text'", []string{"id", "n"}, []any{int32(1), "now text"}, "now text"},
		{
			"alter table t rename column n to other; alter table t rename column id to n; alter table t rename column other to id; update t set id = '1'; alter table t alter column id type int using id::int, alter column n type text using 'swapped'",
			[]string{"n", "id"},
			[]any{"swapped", int32(1)},
			"swapped",
		},
		{"drop table t; create table t (id int8, n bool); insert into t values (1, true)", []string{"id", "n"}, []any{int64(1), true}, true},
		{"drop table t; create view t as select 1::int2 as id, 'a view' as n", []string{"id", "n"}, []any{int16(1), "a view"}, "a view"},
	} {
		b.exec(change.ddl)
		b.rideInCompany(ctx, all, []any{1}, change.columns, change.row)
		b.rideInCompany(ctx, one, nil, []string{"n"}, []any{change.n})
		if t.Failed() {
			t.Fatal(change.ddl)
		}
	}
	b.exec("drop view t")
	f := func() {
		_, err := b.p.Exec(ctx, all, 1)
		var pg *pgconn.PgError
		if assert.ErrorAs(t, err, &pg) {
			assert.Equal(t, "42P01", pg.Code)
		}
	}
	b.saturate(ctx, []func(){f, f, f})
	assert.EqualValues(t, 1, b.p.Stat().NewConnsCount())
}

// A lease drops what lanes have prepared; they notice and prepare it again.
func TestLanesSurviveDeallocateAll(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t as select 1 as id, 'a' as name")
	const sql = "select name from t where id = $1"
	b.rideInCompany(ctx, sql, []any{1}, []string{"name"}, []any{"a"})
	for _, drop := range []string{"deallocate all", "discard all", "discard plans"} {
		_, err := b.p.Exec(ctx, drop)
		require.NoError(t, err)
		b.rideInCompany(ctx, sql, []any{1}, []string{"name"}, []any{"a"})
	}
	l, err := b.p.Acquire(ctx)
	require.NoError(t, err)
	require.NoError(t, l.Conn().DeallocateAll(ctx))
	l.Release()
	b.rideInCompany(ctx, sql, []any{1}, []string{"name"}, []any{"a"})
}

// A type is dropped and made again: its OID is another one.
func TestLanesFollowTypes(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		m, err := c.LoadType(ctx, "known_mood")
		c.TypeMap().RegisterTypes([]*pgtype.Type{m})
		return err
	}})
	b.exec("create type known_mood as enum ('sad'); create type mood as enum ('x'); create table t (m known_mood, o mood); insert into t values ('sad', 'x')")
	const sql = "select m, o from t"
	b.rideInCompany(ctx, sql, nil, []string{"m", "o"}, []any{"sad", "x"})
	b.exec("drop table t; drop type known_mood, mood; create type mood as enum ('y'); create type known_mood as enum ('glad'); create table t (m known_mood, o mood); insert into t values ('glad', 'y')")
	b.rideInCompany(ctx, sql, nil, []string{"m", "o"}, []any{"glad", "y"})
	b.exec("alter type known_mood add value 'new'; update t set m = 'glad'")
	b.exec("update t set m = 'new'")
	b.rideInCompany(ctx, sql, nil, []string{"m", "o"}, []any{"new", "y"})
	b.exec("drop table t; create table t (m int, o mood); insert into t values (5, 'y')")
	b.rideInCompany(ctx, sql, nil, []string{"m", "o"}, []any{int32(5), "y"})
}

// The same text means different tables on two connections of one pool.
func TestTwoConnectionsOfDifferentMeaning(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	var mu sync.Mutex
	next := 0
	b := newLaneLab(t, nil)
	b.exec(`create schema s0; create table s0.t (id int, v int4); insert into s0.t select i, i from generate_series(1, 50) i;
		create schema s1; create table s1.t (id int, v float4); insert into s1.t select i, i + 0.5 from generate_series(1, 50) i`)
	p := newPoolAt(t, b.dsn, &pool.Config{MaxConns: 2, MinIdleConns: 2, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := c.Exec(ctx, fmt.Sprintf("set search_path = s%d", next%2))
		next++
		return err
	}})
	require.NoError(t, p.Warm(ctx))
	eventually(t, "two connections", func() bool { return p.Stat().IdleConns() == 2 })
	const sql = "select v from t where id = $1"
	var seen [2]int
	for round := range 40 {
		l0, err := p.Acquire(ctx)
		require.NoError(t, err)
		l1, err := p.Acquire(ctx)
		require.NoError(t, err)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				id := 1 + (round+i)%50
				r, err := p.Query(ctx, sql, id)
				assert.NoError(t, err)
				v, err := pgx.CollectOneRow(r, pgx.RowTo[any])
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				switch v {
				case int32(id):
					seen[0]++
				case float32(id) + 0.5:
					seen[1]++
				default:
					t.Errorf("%v (%T) is wrong on either connection for %d", v, v, id)
				}
			})
		}
		eventually(t, "they queue", func() bool { return p.Stat().Queued() == 20 })
		if round%2 == 0 {
			l0, l1 = l1, l0
		}
		l0.Release()
		l1.Release()
		wg.Wait()
	}
	s := p.Stat()
	t.Log(seen, s.Lanes().Rides, s.Lanes().Reruns, s.Lanes().Alone)
	assert.NotZero(t, seen[0])
	assert.NotZero(t, seen[1])
	assert.NotZero(t, s.Lanes().Rides)
}
