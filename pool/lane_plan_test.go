package pool_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/pool"
)

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
			b.teach(ctx, "select 40 + $1::int", 2)
			b.teach(ctx, c.sql, c.first)
			b.together(ctx, b.company(ctx), func() {
				var n int
				assert.NoError(t, b.scan(ctx, &n, c.sql, c.then))
				assert.Equal(t, 2, n)
			}, b.company(ctx))
			assert.EqualValues(t, 1, b.p.Stat().AloneCount()["function"], "%v", b.p.Stat().AloneCount())
			assert.Equal(t, 1, b.see.count("select count(*) from t"), "it has written")
		})
	}
}
