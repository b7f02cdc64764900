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
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// migrations change what statements are made of, which PostgreSQL does not tell those who
// have Parsed them. Each leads from one state to the next, and back by its before.
var migrations = []struct {
	name, before, change string
	reads                []string
	args                 []any
}{
	{
		"an enum is made again",
		"create type mood as enum ('a', 'b'); create table m (id int, v mood); insert into m values (1, 'a')",
		"create type mood2 as enum ('a', 'c'); alter table m alter v type mood2 using v::text::mood2; drop type mood; alter type mood2 rename to mood",
		[]string{"select id from m where v = $1", "select $1::mood::text", "select $1::text::mood::text", "select id from m where v::text = $1::mood::text", "select 'a'::mood::text where $1::text = 'a'", "select (array[$1]::mood[])[1]::text"},
		[]any{"a"},
	},
	{
		"an int becomes a text",
		"create table m (id int, v int); insert into m values (1, 5)",
		"alter table m alter v type text",
		[]string{"select id from m where v = $1", "select v::text from m where v = $1", "select coalesce(v, $1)::text from m", "select v || $1::text from m", "select id from m where v in ($1)", "select id from m where v between $1 and $1", "select greatest(v, $1)::text from m"},
		[]any{"5"},
	},
	{
		"a text becomes an int",
		"create table m (id int, v text); insert into m values (1, '5')",
		"alter table m alter v type int using v::int",
		[]string{"select id from m where v = $1", "select coalesce(v, $1)::text from m", "select id from m where v > $1 or v = $1", "select nullif(v, $1)::text from m"},
		[]any{"5"},
	},
	{
		"a column is renamed and replaced",
		"create table m (id int, v int); insert into m values (1, 5)",
		"alter table m rename v to old; alter table m add v varchar default '5'",
		[]string{"select id from m where v = $1", "select id from m where v::text = $1::text", "select v::text from m where v = $1"},
		[]any{"5"},
	},
	{
		"a table is made again",
		"create table m (id int, v int); insert into m values (1, 5)",
		"drop table m; create table m (id int, v text); insert into m values (1, '5')",
		[]string{"select id from m where v = $1", "select (m).id from m where v = $1", "select m.v::text from m where m.v = $1"},
		[]any{"5"},
	},
	{
		"a table becomes a view",
		"create table m (id int, v int); insert into m values (1, 5)",
		"drop table m; create view m as select 1 as id, '5'::text as v",
		[]string{"select id from m where v = $1", "select id from m where v::text = $1::text"},
		[]any{"5"},
	},
	{
		"a view is made again",
		"create view m as select 1 as id, 5 as v",
		"drop view m; create view m as select 1 as id, '5'::text as v",
		[]string{"select id from m where v = $1", "select v::text from m where id = 1 and v = $1"},
		[]any{"5"},
	},
	{
		"a function is made again",
		"create function ride_f(int) returns int immutable language plpgsql as 'begin return $1; end'; create table m (id int); insert into m values (1)",
		"drop function ride_f(int); create function ride_f(bigint) returns bigint immutable language plpgsql as 'begin return $1; end'",
		[]string{"select ride_f(id)::text from m where $1 = '5'", "select id from m where ride_f(id) = 1 and $1::text = '5'", "select ride_f($1)::text"},
		[]any{"5"},
	},
	{
		"a function becomes a procedure, and another one",
		"create function ride_f(int) returns int immutable language plpgsql as 'begin return $1; end'; create table m (id int); insert into m values (1)",
		"drop function ride_f(int); create procedure ride_g() language sql as 'select 1'; create function ride_f(text) returns text immutable language plpgsql as 'begin return $1; end'; create function ride_f(int) returns text immutable language plpgsql as 'begin return $1; end'",
		[]string{"select ride_f(id)::text from m where $1::text = '5'"},
		[]any{"5"},
	},
	{
		"a domain is made again",
		"create domain dom as int; create table m (id int, v dom); insert into m values (1, 5)",
		"alter table m alter v type int; drop domain dom; create domain dom as text; alter table m alter v type dom using v::text",
		[]string{"select id from m where v = $1", "select $1::dom::text", "select v::text from m where $1::text = '5'"},
		[]any{"5"},
	},
	{
		"a composite type is made again",
		"create type pair as (a int, b int); create table m (id int, v int); insert into m values (1, 5)",
		"drop type pair; create type pair as (a int, b text)",
		[]string{"select (row(1, v)::pair).b::text from m where $1::text = '5'", "select $1::text where (row(1, 2)::pair).a = 1"},
		[]any{"5"},
	},
	{
		"an operator is made again",
		"create function ride_op(int, int) returns int immutable language sql as 'select $1'; create operator === (leftarg = int, rightarg = int, function = ride_op); create table m (id int); insert into m values (1)",
		"drop operator === (int, int); drop function ride_op; create function ride_op(int, int) returns bigint immutable language sql as 'select $2::bigint'; create operator === (leftarg = int, rightarg = int, function = ride_op)",
		[]string{"select (id === 2)::text from m where $1::text = '5'"},
		[]any{"5"},
	},
}

// A statement that a lane has Parsed becomes useless: reads go on as pgxpool's do, with no more
// errors than it has for its own cached plans, and ride again.
func TestLanesHealAfterMigrations(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	for _, m := range migrations {
		t.Run(m.name, func(t *testing.T) {
			b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"ride_f", "ride_op"}})
			b.exec(m.before)
			cfg, err := pgxpool.ParseConfig(b.dsn)
			require.NoError(t, err)
			cfg.MaxConns = 1
			px, err := pgxpool.NewWithConfig(ctx, cfg)
			require.NoError(t, err)
			defer px.Close()

			type database interface {
				QueryRow(context.Context, string, ...any) pgx.Row
			}
			ask := func(db database, sql string) (v any, err error) {
				err = db.QueryRow(ctx, sql, m.args...).Scan(&v)
				return v, err
			}
			rides := func(sql string, failed *atomic.Int64) {
				before := b.p.Stat().Lanes().Rides
				f := func() {
					if _, err := ask(b.p, sql); err != nil {
						failed.Add(1)
						t.Log(sql, err)
					}
				}
				for range 10 {
					b.saturate(ctx, []func(){f, f, f})
				}
				t.Log(b.p.Stat().Lanes().Rides-before, "rode", sql)
			}
			for _, sql := range m.reads {
				var none atomic.Int64
				rides(sql, &none)
				require.Zero(t, none.Load(), sql)
				_, err := ask(px, sql)
				require.NoError(t, err, sql)
				_, err = ask(px, sql)
				require.NoError(t, err, sql)
			}
			b.exec(m.change)
			for _, sql := range m.reads {
				theirs := int64(0)
				for range 30 {
					if _, err := ask(px, sql); err != nil {
						theirs++
					}
				}
				if theirs > 1 { // it is wrong now
					continue
				}
				var ours atomic.Int64
				rides(sql, &ours)
				assert.LessOrEqual(t, ours.Load(), theirs, sql)
				want, err := ask(px, sql)
				require.NoError(t, err)
				before := b.p.Stat()
				for range 3 {
					f := func() {
						got, err := ask(b.p, sql)
						assert.NoError(t, err, sql)
						assert.Equal(t, want, got, sql)
					}
					b.saturate(ctx, []func(){f, f, f})
				}
				if after := b.p.Stat(); after.Lanes().Rides > before.Lanes().Rides {
					assert.Equal(t, before.Lanes().Reruns, after.Lanes().Reruns, sql)
				}
			}
			assert.NotZero(t, b.p.Stat().Lanes().Rides)
			assert.EqualValues(t, 1, b.p.Stat().NewConnsCount())
		})
	}
}

// renew replaces the connection, on which nothing is prepared then.
func (b *laneLab) renew(ctx context.Context) {
	b.t.Helper()
	b.exec("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	dialed := b.p.Stat().NewConnsCount()
	eventually(b.t, "a new connection", func() bool {
		require.NoError(b.t, b.p.Ping(ctx))
		return b.p.Stat().NewConnsCount() > dialed
	})
}

// Reads that share one new Parse, whose statement is not what they were encoded for: a column
// is added to what select * means, while they wait for a connection that is new.
func TestRidersOfOneNewParseAreEachVerified(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t (a int); insert into t values (1)")
	together := 0
	for i, change := range []string{
		"alter table t add b int default 2",
		"alter table t add c text default 'x', add d text default 'y'",
		"alter table t drop c",
		"alter table t alter b type text",
		"drop table t; create table t (a text, x int8); insert into t values ('new', 5)",
		"alter table t alter x type float8", // of the same width
	} {
		sql := fmt.Sprintf("select *, %d as round from t", i)
		var seen atomic.Int64
		f := func() {
			r, err := b.p.Query(ctx, sql)
			assert.NoError(t, err)
			rows, err := pgx.CollectRows(r, pgx.RowToMap)
			if assert.NoError(t, err, change) && assert.Len(t, rows, 1) && len(r.FieldDescriptions()) == len(rows[0]) {
				seen.Add(1)
			}
		}
		b.saturate(ctx, []func(){f, f})
		b.saturate(ctx, []func(){f, f})
		b.renew(ctx)
		release := b.hold(ctx)
		rode := b.p.Stat().Lanes().Rides
		var wg sync.WaitGroup
		for range 20 {
			b.queued(&wg, f)
		}
		b.exec(change)
		release()
		wg.Wait()
		assert.EqualValues(t, 24, seen.Load(), change)
		if b.p.Stat().Lanes().Rides == rode+20 {
			together++
		}
		if t.Failed() {
			t.Fatal(change)
		}
	}
	assert.Positive(t, together, "unless the change was noticed before they were sent, they rode")
}

// The segment with the Parse fails before it gets there, or is given up: what relies on it runs
// alone, and nobody sees that it was missing.
func TestAParseThatFailsIsItsOwnRidersOnly(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "select similarity('a', 'b')") // has pg_trgm's settings known
		return err
	}})
	b.exec("create extension pg_trgm; create table t as select 1 as id")
	const sql = "select id from t"
	anew := func() func() {
		b.renew(ctx)
		return b.hold(ctx)
	}
	good, bad := b.p.With(map[string]string{"pg_trgm.similarity_threshold": "0.4"}), b.p.With(map[string]string{"pg_trgm.similarity_threshold": "nonsense"})
	read := func(db interface {
		QueryRow(context.Context, string, ...any) pgx.Row
	},
	) func() {
		return func() {
			var id int
			assert.NoError(t, db.QueryRow(ctx, sql).Scan(&id))
			assert.Equal(t, 1, id)
		}
	}
	for _, db := range []interface {
		QueryRow(context.Context, string, ...any) pgx.Row
	}{b.p, good} {
		b.saturate(ctx, []func(){read(db), read(db)})
		b.saturate(ctx, []func(){read(db), read(db)})
	}

	release := anew()
	var wg sync.WaitGroup
	b.queued(&wg, func() {
		var pg *pgconn.PgError
		assert.ErrorAs(t, bad.QueryRow(ctx, sql).Scan(new(int)), &pg)
	})
	for range 5 {
		b.queued(&wg, read(good))
	}
	release()
	wg.Wait()

	release = anew()
	cancelled, cancel := context.WithCancel(ctx)
	b.queued(&wg, func() {
		if err := b.p.QueryRow(cancelled, sql).Scan(new(int)); err != nil {
			assert.ErrorIs(t, err, context.Canceled)
		}
	})
	for range 5 {
		b.queued(&wg, read(b.p))
	}
	cancel()
	release()
	wg.Wait()

	release = anew()
	tx, err := b.see.c.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "lock table t in access exclusive mode")
	require.NoError(t, err)
	for range 5 {
		b.queued(&wg, read(b.p))
	}
	release()
	// They ride, and the guard stops the Parse; or it was seen in time that the table is another, and they wait alone.
	alone := b.p.Stat().AcquireCount()
	refused := b.p.Stat().Lanes().GuardRefusals
	eventually(t, "the guard stopped the Parse, or they went alone", func() bool {
		s := b.p.Stat()
		return s.Lanes().GuardRefusals > refused || s.AcquireCount() > alone || s.AcquiredConns() > 0
	})
	require.NoError(t, tx.Rollback(ctx))
	wg.Wait()
}

// SQL that is wrong by itself is not sent twice: its statement was Parsed for it.
func TestAnErrorOfAFreshStatementIsItsOwn(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t as select 1 as id")
	const sql = "select ($1::text)::int from t"
	read := func() {
		var pg *pgconn.PgError
		if assert.ErrorAs(t, b.p.QueryRow(ctx, sql, "x").Scan(new(int)), &pg) {
			assert.Equal(t, "22P02", pg.Code)
		}
	}
	right := func() { assert.NoError(t, b.p.QueryRow(ctx, sql, "1").Scan(new(int))) }
	b.saturate(ctx, []func(){right, right})
	other := "select 1 + $1::int"
	company := func() { assert.NoError(t, b.p.QueryRow(ctx, other, 1).Scan(new(int))) }
	b.saturate(ctx, []func(){company, company})
	b.renew(ctx)
	before := b.p.Stat()
	b.saturate(ctx, []func(){read, company})
	after := b.p.Stat()
	assert.Equal(t, before.Lanes().Rides+2, after.Lanes().Rides)
	assert.Equal(t, before.Lanes().Reruns, after.Lanes().Reruns, "it was Parsed in its own segment")
}

// The same name is the same text, whatever a connection has prepared before.
func TestNamesOfLanesFollowFromTheText(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := ""
	named := map[string]string{}
	texts := map[string]string{}
	for i, order := range [][]int{{0, 1, 2}, {2, 0, 1}, {1}} {
		b := newLaneLab(t, nil)
		if dsn == "" {
			dsn = b.dsn
		}
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
		p.NeverSlow()
		b.p = p
		for _, n := range order {
			sql := fmt.Sprintf("select %d + $1::int", n)
			f := func() { assert.NoError(t, p.QueryRow(ctx, sql, 1).Scan(new(int))) }
			for range 4 {
				b.saturate(ctx, []func(){f, f, f})
			}
			require.NotZero(t, p.Stat().Lanes().Rides)
		}
		_, err := p.With(map[string]string{"a.b": "c"}).Exec(ctx, "select 1")
		require.NoError(t, err)
		r, err := p.Query(ctx, "select name, statement from pg_prepared_statements where name like 'lmipool\\_%' and name not like 'lmipool\\_look%'")
		require.NoError(t, err)
		var name, text string
		_, err = pgx.ForEachRow(r, []any{&name, &text}, func() error {
			if have, ok := named[name]; ok && have != text {
				return errors.New(name + " is " + have + " and " + text)
			}
			if have, ok := texts[text]; ok && have != name {
				return errors.New(text + " is " + have + " and " + name)
			}
			named[name], texts[text] = text, name
			assert.LessOrEqual(t, len(name), 63)
			return nil
		})
		require.NoError(t, err, i)
	}
	assert.Greater(t, len(named), 4)
}
