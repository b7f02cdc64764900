package pool_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// asks are the ways to ask for one value.
var asks = map[string]func(ctx context.Context, db querier, sql string, s *string) error{
	"QueryRow": func(ctx context.Context, db querier, sql string, s *string) error {
		return db.QueryRow(ctx, sql, "x").Scan(s)
	},
	"no argument": func(ctx context.Context, db querier, sql string, s *string) error {
		return db.QueryRow(ctx, sql[:len(sql)-len("$1::text")]+"'x'").Scan(s)
	},
	"named": func(ctx context.Context, db querier, sql string, s *string) error {
		return db.QueryRow(ctx, sql[:len(sql)-len("$1::text")]+"@v::text", pgx.NamedArgs{"v": "x"}).Scan(s)
	},
	"SendBatch": func(ctx context.Context, db querier, sql string, s *string) error {
		b := &pgx.Batch{}
		b.Queue(sql, "x").QueryRow(func(r pgx.Row) error { return r.Scan(s) })
		return db.SendBatch(ctx, b).Close()
	},
}

// Many ask at once, under a zone of their own, through a few sessions that a pooler gives to anybody. What was
// prepared in one flight may be gone in the next, or somebody else's: each gets his own answer all the same.
func TestWithBehindAnUnannouncedPoolerAnswersItsOwnQuestion(t *testing.T) {
	t.Parallel()
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPoolAt(t, bouncer(t, pgtest.Database(t), "default_pool_size = 3"), &pool.Config{MaxConns: 12, Logger: (&logs{}).logger()})
			ctx := bounded(t)
			var wrong, failed atomic.Int64
			together(24, func(i int) {
				db := p.With(map[string]string{"TimeZone": "Asia/Tokyo"})
				for range 20 {
					var s string
					switch err := ask(ctx, db, "select '"+strconv.Itoa(i)+"' || $1::text", &s); {
					case err != nil:
						failed.Add(1)
					case s != strconv.Itoa(i)+"x":
						wrong.Add(1)
					}
				}
			})
			assert.Zero(t, wrong.Load(), "answers to another's question")
			assert.Zero(t, failed.Load())
		})
	}
}

// A stranger in the same session keeps his plans and the numbers that his sequence has taken in advance, whatever the pool's
// users do. An IMMUTABLE function that counts tells how often the statement was planned.
func TestAStrangersPlansAndSequencesAreNotDiscarded(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(`create sequence cached cache 100; create sequence planned;
		create function imm() returns int language plpgsql immutable as $$ begin perform nextval('planned'); return 1; end $$`)
	via := bouncer(t, dsn, "default_pool_size = 1")
	c, err := pgx.Connect(ctx, via+"&default_query_exec_mode=exec")
	require.NoError(t, err)
	defer c.Close(context.Background())
	require.NoError(t, say(ctx, c, "prepare s as select imm()"))
	require.NoError(t, say(ctx, c, "execute s"))
	require.NoError(t, say(ctx, c, "execute s"))
	planned := see.count("select last_value from planned")
	p := newPoolAt(t, via, &pool.Config{MaxConns: 2, MinConns: 2, Logger: (&logs{}).logger()})
	db := p.With(map[string]string{"TimeZone": "Asia/Tokyo"})
	for i := range 3 {
		var n int64
		require.NoError(t, say(ctx, db, "select 1 where $1 = 1", 1))
		require.NoError(t, pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error { return say(ctx, tx, "select 1 where $1 = 1", 1) }))
		require.NoError(t, say(ctx, p, "select nextval('cached')"))
		require.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) error { return say(ctx, l.Conn(), "select 1") }))
		require.NoError(t, c.QueryRow(ctx, "select nextval('cached')").Scan(&n))
		assert.EqualValues(t, 2*i+2, n, "no number that was taken in advance is lost")
		require.NoError(t, say(ctx, c, "execute s"))
	}
	assert.Equal(t, planned, see.count("select last_value from planned"))
}

// What pgx has described under one search_path is used under no other.
func TestWithBehindAPoolerChangesNobodyElsesInsert(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 5, 6, 15, 4, 5, 0, time.UTC)
	for _, upstream := range []pool.Upstream{pool.UpstreamAuto, pool.UpstreamPgBouncer} {
		for name, insert := range inserts {
			if name == "mode of his own" { // cache_statement: pgx itself cannot have it there
				continue
			}
			t.Run(string(upstream)+" "+name, func(t *testing.T) {
				t.Parallel()
				ctx := bounded(t)
				dsn, _ := meaningDatabase(t)
				p := newPoolAt(t, bouncer(t, dsn, "default_pool_size = 1"), &pool.Config{MaxConns: 1, Upstream: upstream, Logger: (&logs{}).logger()})
				see := newInspector(t, dsn)
				for range 2 {
					require.NoError(t, insert(ctx, p.With(map[string]string{"search_path": "a"}), at))
					require.NoError(t, insert(ctx, p, at))
					require.NoError(t, insert(ctx, p.With(map[string]string{"search_path": "b"}), at))
				}
				for _, table := range []string{"public.t", "b.t"} {
					assert.Zero(t, see.count("select count(*) from "+table+" where at not in ('2024-05-06 15:04:05+00', '2024-01-01 00:00+00')"), table)
					assert.GreaterOrEqual(t, see.count("select count(*) from "+table), 2, table)
				}
				assert.GreaterOrEqual(t, see.count("select count(*) from a.t where at = '2024-05-06'"), 2)
			})
		}
	}
}
