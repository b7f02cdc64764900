package pool_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// viaPgBouncer has b's pool reach its server through PgBouncer in transaction mode, if
// reads can ride there: before PostgreSQL 16 nobody knows what they call.
func (b *laneLab) viaPgBouncer(c *pool.Config) {
	b.t.Helper()
	if c == nil {
		c = &pool.Config{}
	}
	c.Upstream, c.MaxConns = pool.UpstreamPgBouncer, 1
	b.p = newPoolAt(b.t, bouncer(b.t, b.dsn, "default_pool_size = 3"), c)
	b.p.NeverSlow()
}

// Who rides through PgBouncer gets the same answer, too: its own, of its own transaction.
func TestWhoeverRidesThroughPgBouncerGetsPgxsAnswer(t *testing.T) {
	t.Parallel()
	o := newOracle(t, &pool.Config{AfterConnect: loadOracleTypes}, oracleSchema)
	o.viaPgBouncer(&pool.Config{AfterConnect: loadOracleTypes})
	var qs []question
	for _, q := range oracleQuestions(t, o) {
		if beyondPgBouncer(q) == "" {
			qs = append(qs, q)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	o.teachAll(ctx, qs)
	all := slices.Sorted(maps.Keys(ways))
	var as []asking
	for i, q := range qs {
		for _, way := range []string{"walk", all[i%len(all)]} {
			as = append(as, asking{q, way, func(ctx context.Context, d asked, q question) answer { return withColumns(ways[way](ctx, d, q)) }})
		}
	}
	o.agree(ctx, as)
	s := o.p.Stat()
	t.Logf("%d questions, asked %d times; %d rides on %d flights, %d ran again, alone %v", len(qs), len(as), s.Lanes().Rides, s.Lanes().Flights, s.Lanes().Reruns, s.Lanes().Alone)
	assert.EqualValues(t, 1, s.NewConnsCount(), "the connection was good all along")
}

// Group after group, of which each may meet another session: none keeps anything of it.
func TestRidesThroughPgBouncerLeaveNothingInItsSessions(t *testing.T) {
	t.Parallel()
	b := newLaneLab(t, nil)
	b.viaPgBouncer(nil)
	ctx := bounded(t)
	b.teach(ctx, "select 40 + $1::int", 2)
	for range 3 {
		b.saturate(ctx, slices.Repeat([]func(){b.company(ctx)}, 150))
	}
	s := b.p.Stat()
	assert.EqualValues(t, 450, s.Lanes().Rides, "%v", s.Lanes().Alone)
	assert.GreaterOrEqual(t, s.Lanes().Flights, int64(15))
	for range 6 {
		assert.Equal(t, "off off 0 0", b.settings())
		var prepared []string
		require.NoError(t, b.p.QueryRow(ctx, "select coalesce(array_agg(name), '{}') from pg_prepared_statements").Scan(&prepared))
		assert.Empty(t, prepared)
	}
}

func TestTheGuardStopsAWriteThatRidesThroughPgBouncer(t *testing.T) {
	t.Parallel()
	b := newLaneLab(t, nil)
	b.viaPgBouncer(&pool.Config{LaneFunctions: []string{"writes", "pg_sleep"}})
	ctx := bounded(t)
	b.exec("create table t (id int)")
	b.exec("create function writes(int) returns int language sql as 'insert into t values ($1) returning id'")
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, "select writes($1)", 0)
	b.teach(ctx, "select $2::text from pg_sleep($1)", 0.0, "taught")
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
	assert.Equal(t, 3, b.see.count("select count(*) from t"), "each exactly once")

	b.together(ctx, b.company(ctx), func() {
		var text string
		assert.NoError(t, b.scan(ctx, &text, "select $2::text from pg_sleep($1)", 0.3, "slept"))
		assert.Equal(t, "slept", text)
	}, b.company(ctx))
	assert.EqualValues(t, 2, b.p.Stat().Lanes().GuardRefusals, "a slow one is stopped, and runs alone")
	assert.Equal(t, "off off 0 0", b.settings())
}

// A description that was right once must not decode what is different now.
func TestAlteredTablesThroughPgBouncer(t *testing.T) {
	t.Parallel()
	b := newLaneLab(t, nil)
	b.viaPgBouncer(nil)
	ctx := bounded(t)
	b.exec("create table t as select 1 as id, 258 as v")
	const sql = "select v from t where id = $1"
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, sql, 1)
	ask := func(want any) func() {
		return func() {
			var v any
			assert.NoError(t, b.scan(ctx, &v, sql, 1))
			assert.Equal(t, want, v)
		}
	}
	b.together(ctx, b.company(ctx), ask(int32(258)), ask(int32(258)))
	for _, change := range []struct {
		typ  string
		want any
	}{{"bigint", int64(258)}, {"text", "258"}, {"int using v::int", int32(258)}} {
		b.exec("alter table t alter v type " + change.typ)
		b.together(ctx, b.company(ctx), ask(change.want), ask(change.want))
		b.teach(ctx, sql, 1)
		b.together(ctx, b.company(ctx), ask(change.want), ask(change.want))
	}
	assert.NotZero(t, b.p.Stat().Lanes().Reruns)
}

// The settings of With are transaction-local, and so each statement has its own, whoever
// rides with it, and whatever session it meets.
func TestWithThroughPgBouncer(t *testing.T) {
	t.Parallel()
	b := newLaneLab(t, nil)
	b.viaPgBouncer(&pool.Config{LaneFunctions: []string{"current_setting"}})
	ctx := bounded(t)
	const sql = "select pg_catalog.current_setting('app.tenant') || $1::text"
	ask := func(tenant string) func() {
		return func() {
			var s string
			assert.NoError(t, b.p.With(map[string]string{"app.tenant": tenant}).QueryRow(ctx, sql, "!").Scan(&s))
			assert.Equal(t, tenant+"!", s)
		}
	}
	b.together(ctx, ask("it's me"), ask("taught"))
	eventually(t, "it was looked at", func() bool { return b.p.Stat().IdleConns() > 0 })
	var fs []func()
	for i := range 60 {
		fs = append(fs, ask(string(rune('a'+i%26))+"'"))
	}
	b.saturate(ctx, fs)
	assert.GreaterOrEqual(t, b.p.Stat().Lanes().Rides, int64(60), "%v", b.p.Stat().Lanes().Alone)
	for range 6 {
		var s *string
		require.NoError(t, b.p.QueryRow(ctx, "select nullif(current_setting('app.tenant', true), '')").Scan(&s))
		assert.Nil(t, s)
	}
}
