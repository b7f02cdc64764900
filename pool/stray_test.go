package pool_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// pgconn writes ExecBatch past its frontend, and so does pgx's SendBatch in exec mode. The pool's own part of a flight
// cannot travel in front of it, and the pool does not see its text.

// strays are the ways to send one statement past the frontend, with the mode of the connection string that each needs.
var strays = map[string]struct {
	mode string
	send func(ctx context.Context, c *pgx.Conn, sql string) (value string, err error)
}{
	"ExecBatch": {"", func(ctx context.Context, c *pgx.Conn, sql string) (string, error) {
		b := &pgconn.Batch{}
		b.ExecParams(sql, nil, nil, nil, nil)
		r, err := c.PgConn().ExecBatch(ctx, b).ReadAll()
		if err != nil || len(r) == 0 || len(r[0].Rows) == 0 {
			return "", err
		}
		return string(r[0].Rows[0][0]), nil
	}},
	"SendBatch in exec mode": {"&default_query_exec_mode=exec", func(ctx context.Context, c *pgx.Conn, sql string) (value string, err error) {
		b := &pgx.Batch{}
		b.Queue(sql).Query(func(r pgx.Rows) error {
			for r.Next() {
				value = string(r.RawValues()[0])
			}
			return r.Err()
		})
		return value, c.SendBatch(ctx, b).Close()
	}},
}

// InTx holds BEGIN back. A batch of the raw connection is in the transaction all the same: it is rolled back with it, and
// when the function runs again.
func TestARawBatchIsInTheTransactionOfInTx(t *testing.T) {
	t.Parallel()
	for name, by := range strays {
		for _, conn := range []string{"of the transaction", "of the lease", "taken before"} {
			dsn := pgtest.Database(t) + by.mode
			see := newInspector(t, dsn)
			see.exec(byHandSchema)
			ctx := bounded(t)
			l, err := newPoolAt(t, dsn, &pool.Config{MaxConns: 1}).Acquire(ctx)
			require.NoError(t, err)
			var raw *pgx.Conn
			if conn == "taken before" {
				raw = l.Conn()
			}
			boom := errors.New("boom")
			run := func(how func(ctx context.Context, tx pgx.Tx) error) error {
				return pool.InTx(ctx, l, pool.TxOptions{MaxRetries: 2}, func(ctx context.Context, tx pgx.Tx) error {
					c := raw
					switch conn {
					case "of the transaction":
						c = tx.Conn()
					case "of the lease":
						c = l.Conn()
					}
					if _, err := by.send(ctx, c, "insert into t values (1)"); err != nil {
						return err
					}
					return how(ctx, tx)
				})
			}
			assert.ErrorIs(t, run(func(context.Context, pgx.Tx) error { return boom }), boom)
			assert.Error(t, run(func(ctx context.Context, tx pgx.Tx) error { return tell("select lost_a_race()")(ctx, tx) }))
			assert.Zero(t, see.count("select count(*) from t"), "%s, %s", name, conn)
			assert.NoError(t, run(func(context.Context, pgx.Tx) error { return nil }))
			assert.Equal(t, 1, see.count("select count(*) from t"), "%s, %s", name, conn)
			l.Release()
		}
	}
}

// If BEGIN fails, nothing is sent by the raw connection that would run, and stay, outside the transaction.
func TestARawBatchDoesNotRunWithoutItsTransaction(t *testing.T) {
	t.Parallel()
	for name, by := range strays {
		dsn := pgtest.Database(t) + by.mode
		see := newInspector(t, dsn)
		see.exec("create table t (n int)")
		p, ctx := newPoolAt(t, dsn, &pool.Config{MaxConns: 1}), bounded(t)
		opts := pool.TxOptions{TxOptions: pgx.TxOptions{IsoLevel: "no such level"}}
		assert.Error(t, pool.InTx(ctx, p, opts, func(ctx context.Context, tx pgx.Tx) error {
			_, err := by.send(ctx, tx.Conn(), "insert into t values (1)")
			assert.Error(t, err, name)
			return err
		}), name)
		assert.Zero(t, see.count("select count(*) from t"), name)
		assert.NoError(t, p.Ping(ctx), name)
	}
}

// What the invocation before has set is not there any more when a raw batch runs.
func TestARawBatchRunsInACleanSession(t *testing.T) {
	t.Parallel()
	const tenant = "select coalesce(current_setting('app.tenant', true), '')"
	for name, by := range strays {
		if by.mode != "" { // exec: nothing is taken away
			continue
		}
		dsn := pgtest.Database(t) + by.mode
		newInspector(t, dsn).exec("create sequence s")
		p, ctx := newPoolAt(t, dsn, &pool.Config{MaxConns: 1}), bounded(t)
		soil := func() {
			_, err := p.Exec(ctx, "set app.tenant = 'secret'")
			require.NoError(t, err)
		}
		for range 5 {
			soil()
			assert.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				v, err := by.send(ctx, tx.Conn(), tenant)
				assert.Empty(t, v, "%s in InTx", name)
				return err
			}))
			soil()
			l, err := p.Acquire(ctx)
			require.NoError(t, err)
			v, err := by.send(ctx, l.Conn(), tenant)
			assert.NoError(t, err)
			assert.Empty(t, v, "%s of a lease", name)
			l.Release()
		}

		_, err := p.Exec(ctx, "select nextval('s')")
		require.NoError(t, err)
		l, err := p.Acquire(ctx)
		require.NoError(t, err)
		_, err = by.send(ctx, l.Conn(), "select currval('s')")
		assert.ErrorContains(t, err, "not yet defined in this session", name)
		drew, err := by.send(ctx, l.Conn(), "select nextval('s')::text")
		require.NoError(t, err)
		var cur string
		require.NoError(t, l.QueryRow(ctx, "select currval('s')::text").Scan(&cur))
		assert.Equal(t, drew, cur, "%s: one's own value stays", name)
		l.Release()
	}
}

// A raw batch may set anything. What was parsed after it is nobody else's, and what it has set ends with the lease.
func TestWhatARawBatchSetsEndsWithTheLease(t *testing.T) {
	t.Parallel()
	const insert = "insert into t (at) values ($1)"
	at := time.Date(2024, 5, 6, 15, 4, 5, 0, time.UTC)
	for _, parse := range []string{"by the lease", "by the raw connection", "by InTx"} {
		dsn, _ := meaningDatabase(t)
		p, ctx := newPoolAt(t, dsn, &pool.Config{MaxConns: 1}), bounded(t)
		send := strays["ExecBatch"].send
		switch parse {
		case "by InTx":
			require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				_, err := send(ctx, tx.Conn(), "set search_path = a")
				require.NoError(t, err)
				_, err = tx.Exec(ctx, insert, at)
				return err
			}))
		default:
			l, err := p.Acquire(ctx)
			require.NoError(t, err)
			_, err = send(ctx, l.Conn(), "set search_path = a")
			require.NoError(t, err)
			if parse == "by the lease" {
				_, err = l.Exec(ctx, insert, at)
			} else {
				_, err = l.Conn().Exec(ctx, insert, at)
			}
			require.NoError(t, err)
			l.Release()
		}
		_, err := p.Exec(ctx, insert, at)
		require.NoError(t, err)
		see := newInspector(t, dsn)
		assert.Equal(t, 1, see.count("select count(*) from a.t where at = '2024-05-06'"), parse)
		assert.Equal(t, 1, see.count("select count(*) from public.t where at = '2024-05-06 15:04:05+00'"), parse)
	}
}

// A batch that a hook sends is as good as its other statements: what AfterConnect and PrepareConn set by one is there
// each time, and what AfterRelease leaves is not.
func TestHooksMaySendBatches(t *testing.T) {
	t.Parallel()
	for name, by := range strays {
		if by.mode != "" { // exec: nothing is taken away
			continue
		}
		dsn := pgtest.Database(t) + by.mode
		var tenants []string // that PrepareConn has found
		p := newPoolAt(t, dsn, &pool.Config{
			MaxConns: 1, Logger: (&logs{}).logger(),
			AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
				_, err := by.send(ctx, c, "select set_config('app.region', 'eu', false)")
				return err
			},
			PrepareConn: func(ctx context.Context, c *pgx.Conn) (bool, error) {
				v, err := by.send(ctx, c, "select coalesce(current_setting('app.tenant', true), '')")
				tenants = append(tenants, v)
				if err == nil {
					_, err = by.send(ctx, c, "select set_config('app.tenant', 'me', false)")
				}
				return true, err
			},
			AfterRelease: func(c *pgx.Conn) bool {
				_, err := by.send(context.Background(), c, "select set_config('app.left', 'hook', false)")
				return err == nil
			},
		})
		for range 3 {
			var region, tenant, left string
			require.NoError(t, p.QueryRow(bounded(t), "select current_setting('app.region', true), current_setting('app.tenant', true), coalesce(current_setting('app.left', true), '')").
				Scan(&region, &tenant, &left), name)
			assert.Equal(t, [3]string{"eu", "me", ""}, [3]string{region, tenant, left}, name)
			_, err := p.Exec(bounded(t), "set work_mem = '5MB'")
			require.NoError(t, err)
		}
		for _, v := range tenants {
			assert.Empty(t, v, "%s: what the lease before had", name)
		}
	}
}

// batchingTracer sends a batch of its own on the connection that is traced.
type batchingTracer struct{}

func (b *batchingTracer) TraceQueryStart(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if d.SQL == "select 1" {
		_, _ = strays["ExecBatch"].send(ctx, c, "select set_config('app.left', 'tracer', false)")
	}
	return ctx
}
func (*batchingTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// So does nothing that a tracer leaves by one reach the next user, though nobody has the raw connection.
func TestABatchOfATracersLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.Config{MaxConns: 1, Tracer: &batchingTracer{}})
	for range 3 {
		_, err := p.Exec(bounded(t), "select 1")
		require.NoError(t, err)
		var left string
		require.NoError(t, p.QueryRow(bounded(t), "select coalesce(current_setting('app.left', true), '')").Scan(&left))
		assert.Empty(t, left)
	}
}

// Who sends no batch pays nothing: its connection is neither reset nor closed; nor is it in exec mode.
func TestNothingStraysUnasked(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "&default_query_exec_mode=exec", "&default_query_exec_mode=cache_describe"} {
		dsn := pgtest.Database(t) + mode
		newInspector(t, dsn).exec("create table t (n int)")
		p, ctx := newPoolAt(t, dsn, &pool.Config{MaxConns: 1}), bounded(t)
		for i := range 10 {
			b := &pgx.Batch{}
			b.Queue("select 1")
			b.Queue("select 2")
			assert.NoError(t, p.SendBatch(ctx, b).Close())
			_, err := p.Exec(ctx, "select 1/0")
			assert.Error(t, err)
			short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			_, err = p.Exec(short, "select pg_sleep(1)")
			cancel()
			assert.Error(t, err)
			assert.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				b := &pgx.Batch{}
				b.Queue("insert into t values (1)")
				return tx.SendBatch(ctx, b).Close()
			}))
			if i > 3 { // what it copies into is known
				_, err = p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}}))
				assert.NoError(t, err)
			}
		}
		assert.EqualValues(t, 1, p.Stat().NewConnsCount(), mode)
		assert.Zero(t, p.Stat().Invocations().Unclean, mode)
	}
}
