package pool_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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

func TestUpstreamByName(t *testing.T) {
	t.Parallel()
	const proxy = "p.proxy-abc123.eu-west-1.rds.amazonaws.com"
	for dsn, want := range map[string]pool.Upstream{
		"postgres://u@127.0.0.1/db":                                             pool.UpstreamDirect,
		"postgres://u@db.cluster-abc123.eu-west-1.rds.amazonaws.com/db":         pool.UpstreamDirect,
		"postgres://u@" + proxy + "/db":                                         pool.UpstreamRDSProxy,
		"postgres://u@ro.endpoint." + proxy + "/db":                             pool.UpstreamRDSProxy,
		"postgres://u@127.0.0.1,P.Proxy-abc123.eu-west-1.rds.amazonaws.com./db": pool.UpstreamRDSProxy,
	} {
		assert.Equal(t, want, newPoolAt(t, dsn, nil).Upstream(), dsn)
	}
	assert.Equal(t, pool.UpstreamDirect, newPoolAt(t, "postgres://u@"+proxy+"/db", &pool.Config{Upstream: pool.UpstreamDirect}).Upstream())
	_, err := pool.New(context.Background(), nowhere, &pool.Config{Upstream: "pgpool"})
	assert.EqualError(t, err, `lmipool: Config.Upstream is "pgpool": want "auto", "direct", "rds-proxy" or "pgbouncer"`)
}

func TestRDSProxyIsWarnedOfBeforeItRefuses(t *testing.T) {
	t.Parallel()
	log := &logs{}
	newPoolAt(t, "postgres://u@p.proxy-abc123.eu-west-1.rds.amazonaws.com/db?application_name=me&search_path=other", &pool.Config{Logger: log.logger()})
	if assert.Len(t, log.lines(), 1) {
		assert.Contains(t, log.lines()[0], "ALTER ROLE ... SET setting=search_path")
	}
}

// What the pool says to a pooler leaves nothing in a session, nor does it need what the
// last flight left there: so says the wire.
func TestNothingIsPreparedOrSetBehindAPooler(t *testing.T) {
	t.Parallel()
	for _, kind := range []pool.Upstream{pool.UpstreamPgBouncer, pool.UpstreamRDSProxy} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			p := newPool(t, &pool.Config{Upstream: kind, MaxConns: 2})
			ctx := bounded(t)
			work(ctx, t, p)
			together(16, func(i int) {
				for range 10 {
					var n int
					assert.NoError(t, p.QueryRow(ctx, "select $1::int", i).Scan(&n))
				}
			})
			for range 2 {
				l, err := p.Acquire(ctx)
				require.NoError(t, err)
				defer l.Release()
				var prepared, set []string
				require.NoError(t, l.QueryRow(ctx, "select coalesce(array_agg(name), '{}') from pg_prepared_statements").Scan(&prepared))
				require.NoError(t, l.QueryRow(ctx, "select coalesce(array_agg(name), '{}') from pg_settings where source = 'session'").Scan(&set))
				assert.Empty(t, prepared)
				assert.Empty(t, set)
			}
			assert.Zero(t, p.Stat().Invocations().Resets)
		})
	}
}

// work uses the pool in all the ways there are.
func work(ctx context.Context, t *testing.T, p *pool.Pool) {
	t.Helper()
	_, err := p.Exec(ctx, "create table if not exists t (id int primary key, name text)")
	require.NoError(t, err)
	for i := range 3 {
		_, err = p.Exec(ctx, "insert into t values ($1, $2)", i, fmt.Sprint("name ", i))
		require.NoError(t, err)
	}
	n, err := p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "name"}, pgx.CopyFromRows([][]any{{10, "ten"}, {11, nil}}))
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	b := &pgx.Batch{}
	b.Queue("select name from t where id = $1", 1)
	b.Queue("update t set name = $2 where id = $1", 2, "two")
	br := p.SendBatch(ctx, b)
	var name string
	require.NoError(t, br.QueryRow().Scan(&name))
	require.Equal(t, "name 1", name)
	_, err = br.Exec()
	require.NoError(t, err)
	require.NoError(t, br.Close())
	require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "insert into t values ($1, $2)", 20, "twenty"); err != nil {
			return err
		}
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "insert into t values ($1, $2)", 20, "again")
			return err
		})
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "23505" {
			return fmt.Errorf("not a duplicate: %w", err)
		}
		return nil
	}))
	tx, err := p.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, tx.QueryRow(ctx, "select name from t where id = $1", 20).Scan(&name))
	require.NoError(t, tx.Rollback(ctx))
	rows, err := p.Query(ctx, "select id from t where id < $1 order by id", 100)
	require.NoError(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(t, err)
	require.Equal(t, []int{0, 1, 2, 10, 11, 20}, ids)
	require.NoError(t, p.Ping(ctx))
}

func TestEverythingWorksThroughPgBouncer(t *testing.T) {
	t.Parallel()
	dsn := bouncer(t, pgtest.Database(t), "default_pool_size = 3")
	p := newPoolAt(t, dsn, &pool.Config{Upstream: pool.UpstreamPgBouncer, MaxConns: 8, ApplicationName: "lmipool/x"})
	ctx := bounded(t)
	work(ctx, t, p)
	var failed atomic.Int64
	together(32, func(i int) { // on whatever server connection is free
		for n := range 40 {
			var v int
			var err error
			switch n % 3 {
			case 0:
				err = p.QueryRow(ctx, fmt.Sprintf("select $1::int + %d", n%7), i).Scan(&v)
				v -= n % 7
			case 1:
				err = pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error { return tx.QueryRow(ctx, "select $1::int", i).Scan(&v) })
			default:
				var rows pgx.Rows
				rows, err = p.Query(ctx, "select $1::int from generate_series(1, 3)", i)
				if err == nil {
					var vs []int
					vs, err = pgx.CollectRows(rows, pgx.RowTo[int])
					v = slices.Max(append(vs, 0))
				}
			}
			if err != nil || v != i {
				failed.Add(1)
				t.Errorf("%d: %d %v", i, v, err)
			}
		}
	})
	assert.Zero(t, failed.Load())
	assert.Equal(t, pool.UpstreamPgBouncer, p.Upstream())
}

// A cancel must reach its statement, and nobody else's, whoever has the server connection
// then.
func TestCancelsThroughPgBouncerHitNoNeighbour(t *testing.T) {
	t.Parallel()
	dsn := bouncer(t, pgtest.Database(t), "default_pool_size = 3")
	p := newPoolAt(t, dsn, &pool.Config{Upstream: pool.UpstreamPgBouncer, MaxConns: 8})
	ctx := bounded(t)
	var canceled, stray atomic.Int64
	together(16, func(i int) {
		for range 20 {
			if i%2 == 0 {
				short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				_, err := p.Exec(short, "select pg_sleep(5)")
				cancel()
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				canceled.Add(1)
				continue
			}
			if _, err := p.Exec(ctx, "select pg_sleep(0.002)"); err != nil {
				stray.Add(1)
				t.Errorf("a neighbour: %v", err)
			}
		}
	})
	s := p.Stat()
	t.Logf("%d cancelled, %d neighbours hit, %d connections lost, %d opened", canceled.Load(), stray.Load(), s.Cancels().Lost, s.NewConnsCount())
}

func TestPgBouncersOwnLimitIsAFullServer(t *testing.T) {
	t.Parallel()
	dsn := bouncer(t, pgtest.Database(t), "max_client_conn = 1")
	leave := occupy(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{Upstream: pool.UpstreamPgBouncer, MaxConns: 2, Logger: (&logs{}).logger()})
	done := make(chan error)
	go func() { done <- p.Ping(bounded(t)) }()
	eventually(t, "it is refused", func() bool { return p.Stat().Dials().Refused > 0 })
	leave()
	assert.NoError(t, ends(t, "the wait for room", done))
}

// PgBouncer passes on what the server behind it says, but for the code.
func TestAFullServerBehindPgBouncerIsFull(t *testing.T) {
	t.Parallel()
	dsn, _ := limitedRole(t, 1)
	leave := occupy(t, dsn)
	p := newPoolAt(t, bouncer(t, dsn, "server_login_retry = 1"), &pool.Config{Upstream: pool.UpstreamPgBouncer, MaxConns: 2, Logger: (&logs{}).logger()})
	done := make(chan error)
	go func() { done <- p.Ping(bounded(t)) }()
	eventually(t, "it is refused", func() bool { return p.Stat().Dials().Refused > 0 })
	leave()
	assert.NoError(t, ends(t, "the wait for room", done))
}

// What an invocation sets in a session is there for whoever has it next, in this pool or
// another client: PgBouncer's sessions are not this pool's to mend. SET LOCAL ends with its
// transaction.
func TestSettingsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	p := newPoolAt(t, bouncer(t, pgtest.Database(t), "default_pool_size = 1"), &pool.Config{Upstream: pool.UpstreamPgBouncer, MaxConns: 2})
	ctx := bounded(t)
	workMem := func() (s string) {
		require.NoError(t, p.QueryRow(ctx, "show work_mem").Scan(&s))
		return s
	}
	was := workMem()
	require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local work_mem = '5MB'"); err != nil {
			return err
		}
		var s string
		err := tx.QueryRow(ctx, "show work_mem").Scan(&s)
		assert.Equal(t, "5MB", s)
		return err
	}))
	assert.Equal(t, was, workMem())
	_, err := p.Exec(ctx, "set work_mem = '6MB'")
	require.NoError(t, err)
	assert.Equal(t, "6MB", workMem(), "the next one has it")
}

func TestWhatPgBouncerRefusesIsExplained(t *testing.T) {
	t.Parallel()
	dsn := bouncer(t, pgtest.Database(t), "default_pool_size = 1")
	log := (&logs{}).logger()
	p := newPoolAt(t, dsn+"&statement_timeout=1s", &pool.Config{Upstream: pool.UpstreamPgBouncer, Logger: log})
	err := p.Ping(bounded(t))
	assert.ErrorContains(t, err, "unsupported startup parameter: statement_timeout")
	assert.ErrorContains(t, err, "ignore_startup_parameters names it")

	// somebody said that it is not there
	direct := &pool.Config{Upstream: pool.UpstreamDirect, Logger: log}
	require.NoError(t, newPoolAt(t, dsn, direct).Ping(bounded(t)))
	err = newPoolAt(t, dsn, direct).Ping(bounded(t))
	assert.ErrorContains(t, err, `say so with Config.Upstream, "pgbouncer" or "rds-proxy"`)
}

func TestAChosenExecModeWinsBehindAPooler(t *testing.T) {
	t.Parallel()
	for setting, prepared := range map[string]int{
		"": 0,
		"&default_query_exec_mode=cache_statement": 1,
		"&default_query_exec_mode=exec":            0,
		"&description_cache_capacity=0":            0,
	} {
		p := newPoolAt(t, pgtest.Database(t)+setting, &pool.Config{Upstream: pool.UpstreamPgBouncer, MaxConns: 1})
		var n int
		require.NoError(t, p.QueryRow(bounded(t), "select count(*) from pg_prepared_statements").Scan(&n), setting)
		assert.Equal(t, prepared, n, setting)
	}
}

// Through PgBouncer in transaction mode the answers are those that pgx gets from the
// server, whatever server connection each of them comes from.
func TestPgBouncerGivesTheServersAnswers(t *testing.T) {
	t.Parallel()
	o := newOracle(t, &pool.Config{AfterConnect: loadOracleTypes}, oracleSchema)
	p := newPoolAt(t, bouncer(t, o.dsn, "default_pool_size = 3"), &pool.Config{AfterConnect: loadOracleTypes, Upstream: pool.UpstreamPgBouncer, MaxConns: 8})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	all := slices.Sorted(maps.Keys(ways))
	var as []asking
	left := map[string]int{}
	for i, q := range oracleQuestions(t, o) {
		if why := beyondPgBouncer(q); why != "" {
			left[why]++
			continue
		}
		for _, way := range []string{"walk", all[i%len(all)]} {
			as = append(as, asking{q, way, ways[way]})
			as[len(as)-1].of(ctx, o.px) // what writes does so now
		}
	}
	for some := range slices.Chunk(as, 16) {
		got := make([]answer, len(some))
		together(len(some), func(i int) { got[i] = some[i].of(ctx, p) })
		for i, a := range some {
			if d := differences(withColumns(a.of(ctx, o.px)), withColumns(got[i])); d != "" {
				t.Errorf("%s: %v\n  %s", a.way, a.question, d)
			}
		}
	}
	t.Logf("asked %d times; left out: %v", len(as), left)
}

// beyondPgBouncer says why q is no question for a pooler; "" if it is one.
func beyondPgBouncer(q question) string {
	if len(q.args) > 0 && q.args[0] == pgx.QueryExecModeDescribeExec {
		return "describes in one round trip and executes in another, which meets another session"
	}
	return ""
}

// withColumns is a without one difference that pgx itself makes: the columns of a result
// that has none are an empty slice with cache_statement, and nil with cache_describe.
func withColumns(a answer) answer {
	for i, v := range a {
		if f, ok := v.([]pgconn.FieldDescription); ok && len(f) == 0 {
			a[i] = []pgconn.FieldDescription{}
		}
	}
	return a
}
