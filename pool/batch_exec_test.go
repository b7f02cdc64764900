package pool_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// In exec mode pgx writes a batch past its frontend, and so past what the pool knows to have been sent.
func inExecMode(b func(context.Context, *pgx.ConnConfig) error) func(context.Context, *pgx.ConnConfig) error {
	return func(ctx context.Context, c *pgx.ConnConfig) error {
		c.DefaultQueryExecMode = pgx.QueryExecModeExec
		if b == nil {
			return nil
		}
		return b(ctx, c)
	}
}

func TestABatchInExecModeIsPartOfItsTransaction(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec("create table t (id int)")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, BeforeConnect: inExecMode(nil)})
	mine := errors.New("mine")
	for _, first := range []string{"", "insert into t values (1)"} {
		err := pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if first != "" {
				if _, err := tx.Exec(ctx, first); err != nil {
					return err
				}
			}
			q := &pgx.Batch{}
			q.Queue("insert into t values ($1)", 2)
			if err := tx.SendBatch(ctx, q).Close(); err != nil {
				return err
			}
			return mine
		})
		require.ErrorIs(t, err, mine)
		assert.Zero(t, see.count("select count(*) from t"), "first %q", first)
	}
	err := pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		q := &pgx.Batch{}
		q.Queue("insert into t values ($1)", 3)
		return tx.SendBatch(ctx, q).Close()
	})
	require.NoError(t, err)
	assert.Equal(t, 1, see.count("select count(*) from t"))
}

func TestABatchInExecModeThatWasLostIsNotSentTwice(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	b := &awayLab{see: newInspector(t, dsn), proxy: newProxy(t, dsn)}
	b.p = newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger(), BeforeConnect: inExecMode(through(b.proxy))})
	b.see.exec("create table t (id int)")
	err := b.lost(t, func(ctx context.Context) error {
		q := &pgx.Batch{}
		q.Queue("insert into t values ($1)", 1)
		return b.p.SendBatch(ctx, q).Close()
	})
	assert.Equal(t, 2, b.see.count("select count(*) from t"))
	require.Error(t, err)
	assert.True(t, pool.OutcomeUnknown(err), "%v", err)
}

// lost has do's statement run, and its answer lost.
func (b *awayLab) lost(t *testing.T, do func(ctx context.Context) error) error {
	t.Helper()
	require.NoError(t, do(bounded(t))) // it has a connection that was heard from, and is prepared
	b.see.exec("begin; lock table t in exclusive mode")
	done := make(chan error)
	go func() { done <- do(bounded(t)) }()
	eventually(t, "it waits for the lock", func() bool {
		return b.see.count("select count(*) from pg_locks where not granted and relation = 't'::regclass") == 1
	})
	b.proxy.Stall(true)
	b.see.exec("commit")
	time.Sleep(20 * time.Millisecond) // until it is done, and its answer on its way
	b.proxy.Reset()
	b.proxy.Stall(false)
	return ends(t, "what was lost", done)
}

// A call that cannot be made while Rows are open says nothing of what was sent for them.
func TestACallBesideOpenRowsDoesNotHideThatTheyWereSent(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	b := &awayLab{see: newInspector(t, dsn), proxy: newProxy(t, dsn)}
	b.p = newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger(), BeforeConnect: through(b.proxy)})
	b.see.exec("create table t (id int)")
	err := b.lost(t, func(ctx context.Context) error {
		l, err := b.p.Acquire(ctx)
		if err != nil {
			return err
		}
		defer l.Release()
		r, err := l.Query(ctx, "insert into t values ($1) returning id", 1)
		if err != nil {
			return err
		}
		_, _ = l.Exec(ctx, "select 1")
		r.Close()
		return r.Err()
	})
	assert.Equal(t, 2, b.see.count("select count(*) from t"))
	require.Error(t, err)
	assert.True(t, pool.OutcomeUnknown(err), "%v", err)
}

// What With runs in a transaction of its own is rolled back if it is lost before COMMIT.
func TestWhatWithRunsApartIsNotUnknownBeforeItsCommit(t *testing.T) {
	t.Parallel()
	b := newAwayLab(t, &pool.Config{MaxConns: 1})
	b.see.exec("create table kept as select 1")
	calls := 0
	err := b.lost(t, func(ctx context.Context) error {
		calls++
		table := "t"
		if calls > 1 {
			table += ", kept"
		}
		_, err := b.p.With(map[string]string{"app.tenant": "a"}).Exec(ctx, "truncate "+table)
		return err
	})
	require.Error(t, err)
	assert.Equal(t, 1, b.see.count("select count(*) from kept"))
	assert.True(t, pool.Retryable(err), "%v", err)
}
