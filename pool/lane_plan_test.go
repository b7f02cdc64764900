package pool_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/pool"
)

// goesAlone has the pool know sql, and f, which runs it, go alone although it has
// company. A look on a busy machine may fail, and is tried again.
func (b *laneLab) goesAlone(ctx context.Context, sql string, args []any, f func()) {
	b.t.Helper()
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, sql, args...)
	for range 10 {
		before := b.p.Stat()
		b.together(ctx, b.company(ctx), f, b.company(ctx))
		rode, alone := since(before, b.p.Stat())
		if alone["function"] == 1 {
			return
		}
		if rode == 3 {
			break
		}
		eventually(b.t, "it was looked at", func() bool { return b.p.Stat().IdleConns() > 0 })
	}
	b.t.Errorf("%s: %v", sql, b.p.Stat().Lanes().Alone)
}

// What the arguments of the first run need not run, those of others do: the look is at
// a plan for all of them.
func TestTheFirstArgumentsHideNothing(t *testing.T) {
	t.Parallel()
	const sneaky = `
		create table t (id int);
		create function sneaky(n int) returns int language plpgsql as $$ begin
			begin insert into t values (n); exception when others then null; end; return n; end $$;`
	for name, c := range map[string]struct {
		schema, sql string
		first, then any
	}{
		"branch":    {"create view v as select 1 as id, 0 as w union all select 2, sneaky(2)", "select w from v where id = $1", 1, 2},
		"condition": {"create view v as select sneaky(2) as w", "select w from v where $1::int = 2", 1, 2},
		"partition": {`create table parted (id int) partition by list (id);
			create table two partition of parted for values in (2);
			create table three partition of parted for values in (3);
			insert into parted values (2), (3);
			create view v as select id, sneaky(id) as w from parted`, "select w from v where id = $1", 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			b := newLaneLab(t, &pool.Config{})
			b.exec(sneaky + c.schema)
			b.goesAlone(ctx, c.sql, []any{c.first}, func() {
				var n int
				assert.NoError(t, b.scan(ctx, &n, c.sql, c.then))
				assert.Equal(t, 2, n)
			})
			assert.Equal(t, 1, b.see.count("select count(distinct id) from t"), "it has written")
		})
	}
}

// Of what a statement reads through, a plan does not show all.
func TestAViewHidesNothing(t *testing.T) {
	t.Parallel()
	for name, as := range map[string]string{
		"limit":      "select 1 as id limit sneaky(2)",
		"offset":     "select 1 as id offset sneaky(0)",
		"values":     "select column1 as id from (values (1), (sneaky(2))) x",
		"frame":      "select sum(id) over (order by id rows between sneaky(1) preceding and current row) as id from one",
		"in":         "select id from one where sneaky(id) in (select id from one)",
		"not in":     "select id from one where sneaky(id) not in (select id + 100 from one)",
		"function":   "select inlined(id) as id from one",
		"inner view": "select id from inner_view",
		"policy":     "select id from policed",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			b := newLaneLab(t, &pool.Config{})
			b.exec(`create table one as select 1 as id; create table two as select 1 as id;
				create function sneaky(n int) returns int language plpgsql as $$ begin return n; end $$;
				create function inlined(n int) returns int language sql as 'select id from (select 1 as id limit sneaky(2)) x';
				create view inner_view as select column1 as id from (values (1), (sneaky(2))) x;
				create table policed as select 1 as id;
				create policy p on policed using (sneaky(id) in (select id from inner_view)); alter table policed enable row level security;
				create schema app; create view app.outer_view as ` + as)
			const sql = `select id from app."outer_view" where $1::int > 0`
			b.goesAlone(ctx, sql, []any{1}, func() {
				_, err := b.p.Exec(ctx, sql, 1)
				assert.NoError(t, err)
			})
		})
	}
}

// What has the name of something in the text, and is not meant, is nobody's business.
func TestAViewOfAnotherSchemaIsNotMeant(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec(`create schema other; create view other.items as select pg_sleep(0)::text as id; create table items as select 'mine' as id`)
	b.rideInCompany(ctx, "select id from items", nil, []string{"id"}, []any{"mine"})
}
