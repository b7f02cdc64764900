package pool_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// Where nothing is reset, behind a pooler or because that was asked for, pgx's caches keep nothing either of what a text
// meant while something was set: who inserts a time next stores all of it.
func TestWhatIsSetWhereNothingIsResetChangesNobodyElsesInsert(t *testing.T) {
	t.Parallel()
	const insert = "insert into t (at) values ($1)"
	at := time.Date(2024, 5, 6, 15, 4, 5, 0, time.UTC)
	inTx := func(q ...func(context.Context, querier) error) func(context.Context, *pool.Pool) error {
		return func(ctx context.Context, p *pool.Pool) error {
			return pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error {
				for _, f := range q {
					if err := f(ctx, tx); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	says := func(sql string, args ...any) func(context.Context, querier) error {
		return func(ctx context.Context, q querier) error { return say(ctx, q, sql, args...) }
	}
	raw := func(ctx context.Context, q querier) error {
		c := q.(pgx.Tx).Conn()
		if err := say(ctx, c, "set local search_path = a"); err != nil {
			return err
		}
		return say(ctx, c, insert, at)
	}
	batch := func(ctx context.Context, q querier) error {
		b := &pgx.Batch{}
		b.Queue(insert, at)
		return q.SendBatch(ctx, b).Close()
	}
	configs := map[string]pool.Config{
		"pgbouncer":                   {Upstream: pool.UpstreamPgBouncer},
		"isolation off":               {Isolation: pool.Off},
		"isolation off, no lanes":     {Isolation: pool.Off, Lanes: pool.Off},
		"isolation off, not one lane": {Isolation: pool.Off, Lanes: pool.Off, Upstream: pool.UpstreamDirect},
	}
	for name, run := range map[string]func(context.Context, *pool.Pool) error{
		"set local":  inTx(says("set local search_path = a"), says(insert, at)),
		"set_config": inTx(says("select set_config('search_path', $1, true)", "a"), says(insert, at)),
		"function":   inTx(says("select sets_local('search_path', $1)", "a"), says(insert, at)),
		"do":         inTx(says("do $$ begin perform set_config('search_path', 'a', true); end $$"), says(insert, at)),
		"savepoint":  inTx(says("savepoint s"), says("set local search_path = a"), says(insert, at), says("rollback to savepoint s"), says(insert, at)),
		"batch":      inTx(says("set local search_path = a"), batch),
		"raw":        inTx(raw),
	} {
		for config, c := range configs {
			if name == "function" && c.Lanes == pool.Off { // nothing is known of functions there
				continue
			}
			t.Run(config+" "+name, func(t *testing.T) {
				t.Parallel()
				ctx, c := bounded(t), c
				dsn, _ := meaningDatabase(t)
				see := newInspector(t, dsn)
				if c.Upstream == pool.UpstreamPgBouncer {
					dsn = bouncer(t, dsn, "default_pool_size = 1")
				}
				c.MaxConns = 1
				p := newPoolAt(t, dsn, &c)
				for range 3 {
					require.NoError(t, run(ctx, p))
					require.NoError(t, say(ctx, p, insert, at))
				}
				assert.GreaterOrEqual(t, see.count("select count(*) from public.t where at = '2024-05-06 15:04:05+00'"), 3)
				assert.Zero(t, see.count("select count(*) from public.t where at = '2024-05-06'"), "the time of day is lost")
				assert.EqualValues(t, 1, p.Stat().NewConnsCount())
			})
		}
	}
}

// Where nothing is reset, what one invocation has set for the session stays, and the next one's texts mean what they say there;
// when it is taken back they mean what they meant before.
func TestWhatStaysInASessionDecidesTheMeaningForTheNext(t *testing.T) {
	t.Parallel()
	const insert = "insert into t (at) values ($1)"
	at := time.Date(2024, 5, 6, 15, 4, 5, 0, time.UTC)
	ctx := bounded(t)
	dsn, _ := meaningDatabase(t)
	see := newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Isolation: pool.Off})
	for range 3 {
		require.NoError(t, say(ctx, p, "set search_path = a"))
		require.NoError(t, say(ctx, p, insert, at))
		require.NoError(t, say(ctx, p, insert, at))
		require.NoError(t, say(ctx, p, "reset search_path"))
		require.NoError(t, say(ctx, p, insert, at))
		require.NoError(t, say(ctx, p, insert, at))
	}
	assert.Equal(t, 6, see.count("select count(*) from public.t where at = '2024-05-06 15:04:05+00'"))
	assert.Equal(t, 6, see.count("select count(*) from a.t where at = '2024-05-06'"))
}

// That costs nobody anything who changes nothing: all stays prepared, and nothing is asked.
func TestCleanSessionsThatNobodyResetsKeepTheirPreparedStatements(t *testing.T) {
	t.Parallel()
	for _, lanes := range []pool.Switch{pool.Auto, pool.Off} {
		ctx, tp := bounded(t), &tap{}
		dsn, _ := meaningDatabase(t)
		p := newPoolAt(t, dsn, tp.config(pool.Config{MaxConns: 1, Lanes: lanes, Isolation: pool.Off}))
		clean := func() {
			require.NoError(t, say(ctx, p, "update t set n = n where n = $1", "x"))
			require.NoError(t, pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error {
				require.NoError(t, say(ctx, tx, "set local work_mem = '9MB'"))
				require.NoError(t, say(ctx, tx, "select n from t where n = $1", "x"))
				require.NoError(t, say(ctx, tx, "insert into t select * from t where n = $1", "y"))
				return say(ctx, tx, "delete from t where n = $1", "y")
			}))
			require.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) error { return say(ctx, l.Conn(), "select n from t where n = $1", "x") }))
			eventually(t, "all is looked at", func() bool { return p.Stat().IdleConns() == 1 })
		}
		for range 4 {
			clean()
		}
		_ = tp.since()
		clean()
		assert.Zero(t, strings.Count(strings.Join(tp.since(), ""), "P"), "lanes %s", lanes)
	}
}
