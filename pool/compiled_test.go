package pool_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// A function of PL/pgSQL that was compiled under settings of another invocation's is compiled again for the next.
func TestAFunctionIsNotCompiledUnderAnothersSettings(t *testing.T) {
	t.Parallel()
	for _, set := range []string{
		"set plpgsql.variable_conflict = use_variable", "set local plpgsql.variable_conflict = use_variable", "select set_config('plpgsql.variable_conflict', 'use_variable', true)",
		"set session PLPGSQL.Variable_Conflict to use_variable",
	} {
		ctx, dsn := bounded(t), pgtest.Database(t)
		newInspector(t, dsn).exec("create function vc() returns int language plpgsql as $$ declare x int := 1; r int; begin select x into r from (select 2 as x) s; return r; end $$")
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
		require.NoError(t, lmipoolRuns(ctx, p, true, func(q querier) {
			require.NoError(t, say(ctx, q, set))
			require.NoError(t, say(ctx, q, "select vc()"))
		}))
		assert.ErrorContains(t, say(ctx, p, "select vc()"), "ambiguous", set)
		assert.ErrorContains(t, p.With(map[string]string{"plpgsql.variable_conflict": "use_variable"}).Ping(ctx), "compiled")
	}
}
