package pool_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// reachStorm is two functions' pools and a stranger, who share a few server connections and say nothing
// of what is upstream.
type reachStorm struct {
	t       *testing.T
	asked   atomic.Int64
	wrong   atomic.Int64 // answers of another statement
	failed  atomic.Int64 // reads
	traces  atomic.Int64 // of another invocation
	foreign atomic.Int64 // what the stranger finds changed in his sessions
	refused atomic.Int64 // writes of his, with 25006
	writes  atomic.Int64
	first   sync.Map // code → the first error
}

func (s *reachStorm) fails(err error) {
	code := "none"
	var e *pgconn.PgError
	if errors.As(err, &e) {
		code = e.Code
	}
	s.failed.Add(1)
	s.first.LoadOrStore(code, err)
}

// reads reads columns of equal types, of which the answer tells by which statement it was made.
func (s *reachStorm) reads(ctx context.Context, p *pool.Pool, columns []string, traced bool) {
	patient := context.WithoutCancel(ctx) // with little time left reads are refused
	for ctx.Err() == nil {
		id := rand.IntN(100)
		k := rand.IntN(len(columns))
		var v int
		err := p.QueryRow(patient, "select "+columns[k]+" from t where id = $1", id).Scan(&v)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.fails(err)
		case v != id*10+int(columns[k][0]-'a'):
			s.wrong.Add(1)
		}
		s.asked.Add(1)
		if traced && rand.IntN(50) == 0 {
			s.trace(ctx, p)
		}
	}
}

// trace looks for what other invocations have left, and leaves something.
func (s *reachStorm) trace(ctx context.Context, p *pool.Pool) {
	l, err := p.Acquire(ctx)
	if err != nil {
		return
	}
	defer l.Release()
	var left string
	err = l.QueryRow(ctx, "select concat_ws(',', nullif(current_setting('app.trace', true), ''), nullif(current_setting('work_mem'), '4MB'), (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()))").Scan(&left)
	if err != nil {
		return
	}
	if left != "0" {
		s.traces.Add(1)
		s.t.Log("a trace: ", left)
	}
	_, _ = l.Exec(ctx, "set work_mem = '5MB'")
	_, _ = l.Exec(ctx, "select set_config('app.trace', 'mine', false), pg_advisory_lock(1000 + pg_backend_pid())")
}

// stranger is another program, which uses the same sessions in the plainest way.
func (s *reachStorm) stranger(ctx context.Context, dsn string) {
	c, err := pgx.Connect(ctx, dsn+"&default_query_exec_mode=exec")
	if err != nil {
		if ctx.Err() == nil {
			s.t.Error(err)
		}
		return
	}
	defer c.Close(context.Background())
	for ctx.Err() == nil {
		_, err := c.Exec(ctx, "update counter set n = n + 1")
		var e *pgconn.PgError
		switch {
		case errors.As(err, &e) && e.Code == "25006":
			s.refused.Add(1)
		case err != nil && ctx.Err() == nil:
			s.t.Error(err)
			return
		}
		s.writes.Add(1)
		var found string
		err = c.QueryRow(ctx, `select concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('default_transaction_read_only'),
			current_setting('exit_on_error'), current_setting('app.stranger', true), (select string_agg(name, ',') from pg_prepared_statements))`).Scan(&found)
		if err == nil && found != "7s 0 off off his" {
			s.foreign.Add(1)
			s.first.LoadOrStore("foreign", errors.New(found))
		}
	}
}

func TestStormThroughAPoolerThatNobodyAnnounced(t *testing.T) {
	long := envDuration(t, "LMIPOOL_TEST_POOLER", 2*time.Second)
	// "transaction" is two functions and a stranger; "one function" has the sessions for itself, which is when
	// statements named by connection had the answers of others.
	for _, mode := range []string{"transaction", "one function", "session", "plain TCP"} {
		t.Run(mode, func(t *testing.T) {
			dsn := pgtest.Database(t)
			see := newInspector(t, dsn)
			see.exec("create table t as select i as id, i * 10 as a, i * 10 + 1 as b, i * 10 + 2 as c, i * 10 + 3 as d, i * 10 + 4 as e, i * 10 + 5 as f from generate_series(0, 99) i")
			see.exec("alter table t add primary key (id)")
			see.exec("create table counter as select 0 as n")
			var via, strangers string
			switch mode {
			case "transaction":
				via = bouncer(t, dsn, "default_pool_size = 3", "query_wait_timeout = 10")
				// what the sessions have from their administrator, not from the database: RESET ALL would take it away
				prime(t, via, 3)
				strangers = via
			case "one function":
				via = bouncer(t, dsn, "default_pool_size = 3", "query_wait_timeout = 10")
			case "session":
				via = bouncer(t, dsn, "pool_mode = session", "default_pool_size = 4", "query_wait_timeout = 10")
			default:
				via = strings.Replace(dsn, hostOf(t, dsn), newProxy(t, dsn).Addr(), 1)
			}
			s := &reachStorm{t: t}
			log := &logs{}
			conns := map[string]int32{"one function": 8, "session": 2}[mode]
			var pools []*pool.Pool
			for range 2 {
				pools = append(pools, newPoolAt(t, via, &pool.Config{MaxConns: cmp.Or(conns, 3), Logger: log.logger()}))
			}
			if mode == "one function" {
				pools = pools[:1]
			}
			ctx, cancel := context.WithTimeout(context.Background(), long)
			defer cancel()
			var wg sync.WaitGroup
			for i := range 24 {
				wg.Go(func() {
					k := i % len(pools)
					s.reads(ctx, pools[k], [][]string{{"a", "b", "c"}, {"d", "e", "f"}}[k], mode == "session" || mode == "plain TCP")
				})
			}
			if strangers != "" {
				for range 2 {
					wg.Go(func() { s.stranger(ctx, strangers) })
				}
			}
			wg.Wait()
			var rides, opened int64
			for _, p := range pools {
				rides += p.Stat().Lanes().Rides
				opened += p.Stat().NewConnsCount()
			}
			pooler, shared := log.warnings()
			t.Logf("%s: %d reads, %d wrong, %d failed, %d rode, %d connections; %d traces; the stranger: %d writes, %d × 25006, %d × changed; %d+%d warnings",
				mode, s.asked.Load(), s.wrong.Load(), s.failed.Load(), rides, opened, s.traces.Load(), s.writes.Load(), s.refused.Load(), s.foreign.Load(), pooler, shared)
			s.first.Range(func(k, v any) bool { t.Log(k, ": ", v); return true })
			assert.Zero(t, s.wrong.Load())
			assert.Zero(t, s.failed.Load())
			assert.Zero(t, s.traces.Load())
			assert.Zero(t, s.refused.Load())
			assert.Zero(t, s.foreign.Load())
			switch mode {
			case "transaction":
				assert.Equal(t, 2, pooler)
				assert.NotZero(t, s.writes.Load())
			case "one function":
				assert.Equal(t, 1, pooler)
			case "session":
				assert.Equal(t, 2, pooler)
				assert.Zero(t, shared, "isolation stays on")
			default:
				assert.Zero(t, pooler)
				assert.NotZero(t, pools[0].Stat().Invocations().Resets)
			}
		})
	}
}

// prime gives each of n server sessions behind dsn settings that only the session has.
func prime(t *testing.T, dsn string, n int) {
	t.Helper()
	ctx := bounded(t)
	var txs []pgx.Tx
	for range n { // at once, so that each has another session
		c, err := pgx.Connect(ctx, dsn+"&default_query_exec_mode=exec")
		require.NoError(t, err)
		defer c.Close(ctx)
		tx, err := c.Begin(ctx)
		require.NoError(t, err)
		_, err = tx.Exec(ctx, "select set_config('statement_timeout', '7s', false), set_config('app.stranger', 'his', false)")
		require.NoError(t, err)
		txs = append(txs, tx)
	}
	for _, tx := range txs {
		require.NoError(t, tx.Commit(ctx))
	}
}

// hostOf is host:port of dsn.
func hostOf(t *testing.T, dsn string) string {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	return fmt.Sprintf("%s:%d", c.Host, c.Port)
}
