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

// TestACtxThatHadEndedBeforeTheCallIsSaidToHave has every kind of call with a ctx that had ended.
func TestACtxThatHadEndedBeforeTheCallIsSaidToHave(t *testing.T) {
	t.Parallel()
	p := newPool(t, nil)
	_, err := p.Exec(bounded(t), "create table ended (id int)")
	require.NoError(t, err)
	l, err := p.Acquire(bounded(t))
	require.NoError(t, err)
	defer l.Release()
	canceled, cancel := context.WithCancel(bounded(t))
	cancel()
	past, stop := context.WithTimeout(bounded(t), -time.Second)
	defer stop()
	type queries interface {
		pool.Beginner
		Query(context.Context, string, ...any) (pgx.Rows, error)
		QueryRow(context.Context, string, ...any) pgx.Row
		SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
	}
	row := func() pgx.CopyFromSource { return pgx.CopyFromRows([][]any{{1}}) }
	for _, ctx := range []context.Context{canceled, past} {
		tx, err := l.Begin(bounded(t))
		require.NoError(t, err)
		calls := map[string]func() error{
			"Exec":     func() error { _, err := p.Exec(ctx, "select 1"); return err },
			"CopyFrom": func() error { _, err := p.CopyFrom(ctx, pgx.Identifier{"ended"}, []string{"id"}, row()); return err },
			"Acquire":  func() error { _, err := p.Acquire(ctx); return err },
			"Ping":     func() error { return p.Ping(ctx) },
			"Warm":     func() error { return p.Warm(ctx) },
			"InTx": func() error {
				return pool.InTx(ctx, p, pool.TxOptions{}, func(context.Context, pgx.Tx) error { return nil })
			},
			"With.Acquire": func() error { _, err := p.With(map[string]string{"app.t": "1"}).Acquire(ctx); return err },
			"Lease.Exec":   func() error { _, err := l.Exec(ctx, "select 1"); return err },
			"Lease.Ping":   func() error { return l.Ping(ctx) },
			"Lease.CopyFrom": func() error {
				_, err := l.CopyFrom(ctx, pgx.Identifier{"ended"}, []string{"id"}, row())
				return err
			},
			"Tx.Exec":    func() error { _, err := tx.Exec(ctx, "select 1"); return err },
			"Tx.Prepare": func() error { _, err := tx.Prepare(ctx, "ended", "select 1"); return err },
		}
		for name, q := range map[string]queries{"Pool": p, "With": p.With(map[string]string{"app.t": "1"}), "Lease": l, "Tx": tx} {
			calls[name+".Query"] = func() error { _, err := q.Query(ctx, "select 1"); return err }
			calls[name+".QueryRow"] = func() error { return q.QueryRow(ctx, "select 1").Scan(new(int)) }
			calls[name+".Begin"] = func() error { _, err := q.Begin(ctx); return err }
			calls[name+".SendBatch"] = func() error {
				b := &pgx.Batch{}
				b.Queue("select 1")
				return q.SendBatch(ctx, b).Close()
			}
		}
		for name, call := range calls {
			err := call()
			assert.ErrorContains(t, err, "the context had ended before the call: "+ctx.Err().Error(), name)
			assert.ErrorIs(t, err, ctx.Err(), name)
			assert.NotContains(t, err.Error(), "already done", name)
			assert.True(t, pool.Retryable(err), name)
		}
		assert.ErrorContains(t, tx.Commit(ctx), "lmipool: commit was not sent: the context had ended before the call: ")
	}
	sent := func(err error) bool { return !strings.Contains(err.Error(), "before the call") }
	err = inTime(t, time.Millisecond, sent, func(ctx context.Context) error { _, err := l.Exec(ctx, "select pg_sleep(60)"); return err })
	assert.True(t, sent(err), "%v", err)
}

func TestInTxSaysThatItsFunctionEndedTheTransaction(t *testing.T) {
	t.Parallel()
	p := newPool(t, nil)
	ctx := bounded(t)
	_, err := p.Exec(ctx, "create table ended (way text)")
	require.NoError(t, err)
	for way, end := range map[string]func(context.Context, pgx.Tx) error{
		"commit":   func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) },
		"rollback": func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) },
	} {
		err := pool.InTx(ctx, p, pool.TxOptions{MaxRetries: 2}, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "insert into ended values ($1)", way)
			require.NoError(t, err)
			return end(ctx, tx)
		})
		assert.ErrorIs(t, err, pgx.ErrTxClosed)
		assert.ErrorContains(t, err, "its function has called Commit or Rollback, which InTx does itself")
		assert.False(t, pool.Retryable(err) || pool.OutcomeUnknown(err))
	}
	var way string
	require.NoError(t, p.QueryRow(ctx, "select string_agg(way, ' ') from ended").Scan(&way))
	assert.Equal(t, "commit", way, "what it has committed stays")
}

// The server keeps the answer to the settings back until the statement behind them ends: a cancel must not wait for that.
func TestACtxThatEndsStopsAStatementWithSettings(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.Config{MaxConns: 1, CancelWait: 30 * time.Second}) // MaxConns 1: all on one connection
	with := p.With(map[string]string{"app.tenant": "a"})
	stopped := func(call func(context.Context) error) {
		t.Helper()
		err := inTime(t, time.Second, wasSent, call)
		assert.ErrorContains(t, err, "57014")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.True(t, pool.Retryable(err), "%v", err)
	}
	require.NoError(t, p.Ping(bounded(t)))
	for range 2 {
		stopped(func(ctx context.Context) error { _, err := with.Exec(ctx, "select pg_sleep(60)"); return err })
		stopped(func(ctx context.Context) error {
			return with.QueryRow(ctx, "select pg_sleep($1)::text", 60).Scan(new(string))
		})
		_, err := p.Exec(bounded(t), "set work_mem = '5MB'") // from now on a reset travels in front of the settings
		require.NoError(t, err)
	}
	s := p.Stat()
	assert.Zero(t, s.Cancels().Lost)
	assert.EqualValues(t, 1, s.NewConnsCount(), "the connection is kept")
}
