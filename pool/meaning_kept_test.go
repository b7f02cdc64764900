package pool_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// database is a pool, or one bound to settings.
type database interface {
	querier
	CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
	Begin(context.Context) (pgx.Tx, error)
}

// inserts are the ways to store a time, by a text that says the same in every schema.
var inserts = map[string]func(context.Context, database, time.Time) error{
	"Exec": func(ctx context.Context, db database, at time.Time) error {
		return say(ctx, db, "insert into t (at) values ($1)", at)
	},
	"Query": func(ctx context.Context, db database, at time.Time) error {
		r, err := db.Query(ctx, "insert into t (at) values ($1) returning 1", at)
		if err == nil {
			r.Close()
			err = r.Err()
		}
		return err
	},
	"QueryRow": func(ctx context.Context, db database, at time.Time) error {
		var n string
		return db.QueryRow(ctx, "insert into t (at) values ($1) returning n", at).Scan(&n)
	},
	"mode of his own": func(ctx context.Context, db database, at time.Time) error {
		return say(ctx, db, "insert into t (at) values ($1)", pgx.QueryExecModeCacheStatement, at)
	},
	"cache_describe": func(ctx context.Context, db database, at time.Time) error {
		return say(ctx, db, "insert into t (at) values ($1)", pgx.QueryExecModeCacheDescribe, at)
	},
	"named": func(ctx context.Context, db database, at time.Time) error {
		return say(ctx, db, "insert into t (at) values (@at)", pgx.NamedArgs{"at": at})
	},
	"SendBatch": func(ctx context.Context, db database, at time.Time) error {
		b := &pgx.Batch{}
		b.Queue("insert into t (at) values ($1)", at)
		b.Queue("insert into t (at) values (@at)", pgx.NamedArgs{"at": at})
		return db.SendBatch(ctx, b).Close()
	},
	"CopyFrom": func(ctx context.Context, db database, at time.Time) error {
		_, err := db.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"at"}, pgx.CopyFromRows([][]any{{at}}))
		return err
	},
	"transaction": func(ctx context.Context, db database, at time.Time) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error { return say(ctx, tx, "insert into t (at) values ($1)", at) })
	},
	"batch in a transaction": func(ctx context.Context, db database, at time.Time) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue("insert into t (at) values ($1)", at)
			return tx.SendBatch(ctx, b).Close()
		})
	},
	"InTx": func(ctx context.Context, db database, at time.Time) error {
		return pool.InTx(ctx, db, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if err := say(ctx, tx, "insert into t (at) values ($1)", at); err != nil {
				return err
			}
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"at"}, pgx.CopyFromRows([][]any{{at}}))
			return err
		})
	},
}

// A date in one schema, a timestamptz in another: what one invocation stored there, with or without the
// time, says nothing about the next one's.
func TestWithSearchPathChangesNobodyElsesInsert(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 5, 6, 15, 4, 5, 0, time.UTC)
	for _, isolation := range []pool.Switch{pool.Auto, pool.Off} {
		for name, insert := range inserts {
			t.Run(string(isolation)+" "+name, func(t *testing.T) {
				t.Parallel()
				ctx := bounded(t)
				dsn, _ := meaningDatabase(t)
				p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Isolation: isolation})
				see := newInspector(t, dsn)
				for range 3 {
					require.NoError(t, insert(ctx, p.With(map[string]string{"search_path": "a"}), at))
					require.NoError(t, insert(ctx, p, at))
					require.NoError(t, insert(ctx, p.With(map[string]string{"search_path": "b"}), at))
				}
				for _, table := range []string{"public.t", "b.t"} {
					assert.Zero(t, see.count("select count(*) from "+table+" where at not in ('2024-05-06 15:04:05+00', '2024-01-01 00:00+00')"), table)
					assert.GreaterOrEqual(t, see.count("select count(*) from "+table), 4, table)
				}
				assert.GreaterOrEqual(t, see.count("select count(*) from a.t where at = '2024-05-06'"), 3)
				assert.EqualValues(t, 1, p.Stat().NewConnsCount(), "and no connection was closed for it")
			})
		}
	}
}

// Three zones, and those without, from 8 goroutines.
func TestWithTimeZoneChangesNobodyElsesConstants(t *testing.T) {
	t.Parallel()
	for _, isolation := range []pool.Switch{pool.Auto, pool.Off} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		dsn, _ := meaningDatabase(t)
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, Isolation: isolation})
		zones := map[string]float64{"Asia/Tokyo": 1704034800, "UTC": 1704067200, "America/New_York": 1704085200, "": 1704067200}
		require.NoError(t, say(ctx, newPgx(t, dsn), "alter database "+newInspector(t, dsn).database()+" set timezone = 'UTC'"))
		var wg sync.WaitGroup
		var mu sync.Mutex
		reads, wrong := 0, 0
		for g := range 8 {
			wg.Go(func() {
				for i := range 75 {
					zone := []string{"Asia/Tokyo", "UTC", "America/New_York", ""}[(g+i)%4]
					var db querier = p
					if zone != "" {
						db = p.With(map[string]string{"TimeZone": zone})
					}
					var at, inside float64
					err := db.QueryRow(ctx, "select extract(epoch from timestamptz '2024-01-01')::float8, inside() where $1 = 1", 1).Scan(&at, &inside)
					mu.Lock()
					if reads++; !assert.NoError(t, err) || at != zones[zone] || isolation == pool.Auto && inside != zones[zone] {
						wrong++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		t.Logf("isolation %s: %d of %d reads wrong", isolation, wrong, reads)
		assert.Zero(t, wrong)
	}
}

func newPgx(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(bounded(t), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// An enum for each tenant's schema.
func TestWithSearchPathAndAnEnumForEachSchema(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn, _ := meaningDatabase(t)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	failed, n := 0, 0
	for i := range 100 {
		db := p.With(map[string]string{"search_path": []string{"a", "b"}[i%2]})
		var v string
		for _, err := range []error{
			db.QueryRow(ctx, "select v from enums where v = $1", "x").Scan(&v),
			say(ctx, db, "insert into enums values ($1)", "y"),
		} {
			if n++; err != nil {
				failed++
			}
		}
	}
	t.Logf("%d of %d failed", failed, n)
	assert.Zero(t, failed)
}

// A statement that was prepared in a clean session, and is executed under another zone after its table was
// altered, is analysed again, in that zone.
func TestWhatWasAnalysedAgainUnderOtherSettingsIsNotKept(t *testing.T) {
	t.Parallel()
	const sql = "select count(*) from t where at >= timestamptz '2024-01-01' and $1 = 1"
	for name, middle := range map[string]func(ctx context.Context, p *pool.Pool, ddl func()) error{
		"set": func(ctx context.Context, p *pool.Pool, ddl func()) error {
			return lmipoolRuns(ctx, p, false, func(q querier) {
				_ = say(ctx, q, "set timezone = 'America/New_York'")
				ddl()
				_ = say(ctx, q, sql, 1)
			})
		},
		"function": func(ctx context.Context, p *pool.Pool, ddl func()) error {
			return lmipoolRuns(ctx, p, false, func(q querier) {
				_ = say(ctx, q, "select sets('TimeZone', $1)", "America/New_York")
				ddl()
				_ = say(ctx, q, sql, 1)
			})
		},
		"batch": func(ctx context.Context, p *pool.Pool, ddl func()) error {
			ddl()
			b := &pgx.Batch{}
			b.Queue("select set_config('TimeZone', $1, true)", "America/New_York")
			b.Queue(sql, 1)
			return p.SendBatch(ctx, b).Close()
		},
		"with": func(ctx context.Context, p *pool.Pool, ddl func()) error {
			ddl()
			return say(ctx, p.With(map[string]string{"timezone": "America/New_York"}), sql, 1)
		},
		"raw": func(ctx context.Context, p *pool.Pool, ddl func()) error {
			return p.AcquireFunc(ctx, func(l *pool.Lease) error {
				c := l.Conn()
				_ = say(ctx, c, "set timezone = 'America/New_York'")
				ddl()
				return say(ctx, c, sql, 1)
			})
		},
		"raw, then the lease": func(ctx context.Context, p *pool.Pool, ddl func()) error {
			return p.AcquireFunc(ctx, func(l *pool.Lease) error {
				_ = say(ctx, l.Conn(), "set timezone = 'America/New_York'")
				ddl()
				return say(ctx, l, sql, 1)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			dsn, _ := meaningDatabase(t)
			see := newInspector(t, dsn)
			see.exec("alter database " + see.database() + " set timezone = 'UTC'")
			for _, prepared := range []bool{true, false} {
				p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Lanes: pool.Off})
				var n int
				for range 3 {
					if prepared {
						require.NoError(t, p.QueryRow(ctx, sql, 1).Scan(&n))
						assert.Equal(t, 1, n)
					}
					require.NoError(t, middle(ctx, p, func() { see.exec("alter table t add column c" + fmt.Sprint(time.Now().UnixNano()) + " int") }))
					require.NoError(t, p.QueryRow(ctx, sql, 1).Scan(&n))
					assert.Equal(t, 1, n, "prepared before: %v", prepared)
				}
				assert.EqualValues(t, 1, p.Stat().NewConnsCount())
			}
		})
	}
}

// A temporary table hides another of its name from its own invocation, and from no other.
func TestATemporaryTableHidesNothingFromTheNext(t *testing.T) {
	t.Parallel()
	for name, create := range map[string]string{
		"create": "create temp table t (at date, n text default 'temp')", "as": "create temporary table t as select current_date as at, 'temp' as n",
		"into": "select current_date as at, 'temp' as n into temp t", "view": "create temp view t as select current_date as at, 'temp' as n",
		"do": "do $$ begin create temp table t as select current_date as at, 'temp' as n; end $$",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			dsn, _ := meaningDatabase(t)
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
			const sql = "select n from t where $1 = 1 union all select 'none' limit 1"
			read := func(q querier) (n string) {
				require.NoError(t, q.QueryRow(ctx, sql, 1).Scan(&n))
				return n
			}
			for range 3 {
				assert.Equal(t, "public", read(p))
				require.NoError(t, lmipoolRuns(ctx, p, false, func(q querier) {
					assert.Equal(t, "public", read(q))
					require.NoError(t, say(ctx, q, create))
					_ = say(ctx, q, "insert into pg_temp.t select current_date, 'temp' where $1 = 1", 1)
					assert.Equal(t, "temp", read(q))
					require.NoError(t, say(ctx, q, "select n from t where n = $1", "x"))
				}))
			}
			assert.Equal(t, "public", read(p))
		})
	}
}

// Programs that change nothing have no statement parsed more than once, and their texts stay prepared, whatever
// others on the same connection do.
func TestCleanSessionsKeepTheirPreparedStatements(t *testing.T) {
	t.Parallel()
	ctx, tp := bounded(t), &tap{}
	dsn, _ := meaningDatabase(t)
	p := newPoolAt(t, dsn, tp.config(pool.Config{MaxConns: 1, Lanes: pool.Off}))
	clean := func() {
		require.NoError(t, say(ctx, p, "select n from t where n = $1", "x"))
		require.NoError(t, say(ctx, p, "update t set n = n where n = $1", "x"))
		require.NoError(t, lmipoolRuns(ctx, p, true, func(q querier) {
			require.NoError(t, say(ctx, q, "set local work_mem = '9MB'"))
			require.NoError(t, say(ctx, q, "select set_config('app.tenant', $1, true)", "x"))
			require.NoError(t, say(ctx, q, "select n from t where n = $1", "x"))
			require.NoError(t, say(ctx, q, "delete from t where n = $1", "y"))
		}))
		b := &pgx.Batch{}
		b.Queue("select n from t where n = $1", "x")
		require.NoError(t, p.SendBatch(ctx, b).Close())
		require.NoError(t, say(ctx, p.With(tenant("x")), "select n from t where n = $1", "x"))
	}
	for range 4 {
		clean()
		eventually(t, "all is looked at", func() bool { return p.Stat().IdleConns() == 1 })
	}
	// The pool's own questions about the catalogs, which it asks by the clock, do not count: a guard and questions without names in one packet.
	asks := regexp.MustCompile(`^(PBDE){2,}S$`)
	parses := func() (n int) {
		for _, packet := range tp.since() {
			if !asks.MatchString(packet) {
				n += strings.Count(packet, "P")
			}
		}
		return n
	}
	parses()
	clean()
	assert.Zero(t, parses(), "everything is prepared")
	for _, sql := range []string{"set timezone = 'Asia/Tokyo'", "create temp table t (n text)", "select sets('TimeZone', 'Asia/Tokyo')", "listen c"} {
		require.NoError(t, lmipoolRuns(ctx, p, false, func(q querier) {
			_ = say(ctx, q, sql)
			_ = say(ctx, q, "select n from t where n = $1", "x")
		}))
		eventually(t, "it is clean", func() bool { return p.Stat().IdleConns() == 1 })
		parses()
		clean()
		assert.Zero(t, parses(), "after %s", sql)
	}
	assert.EqualValues(t, 1, p.Stat().NewConnsCount())
}
