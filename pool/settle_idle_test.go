package pool_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// A session that was ended while it did nothing has not run what was sent to it then: PostgreSQL looks for that before
// it runs what it has read.
func TestWhatIsSentToASessionThatWasEndedWhileIdleHasNotHappened(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec("create table t (id int)")
	gone := func(t *testing.T, pid int) {
		t.Helper()
		eventually(t, "the session has ended", func() bool {
			see.mu.Lock()
			defer see.mu.Unlock()
			n := 1
			require.NoError(t, see.c.QueryRow(context.Background(), "select count(*) from pg_stat_activity where pid = $1", pid).Scan(&n))
			return n == 0
		})
	}
	for name, c := range map[string]struct {
		setting, code string
		last          func(ctx context.Context, tx pgx.Tx) error
	}{
		"COMMIT": {"idle_in_transaction_session_timeout", "25P03", func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) }},
		"a write": {"idle_in_transaction_session_timeout", "25P03", func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "insert into t values (2)")
			return err
		}},
		"Rollback":  {"idle_in_transaction_session_timeout", "25P03", func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) }},
		"savepoint": {"idle_in_transaction_session_timeout", "25P03", func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Begin(ctx); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPoolAt(t, withParam(dsn, c.setting, "50ms"), &pool.Config{Logger: (&logs{}).logger()})
			tx, err := p.Begin(bounded(t))
			require.NoError(t, err)
			_, err = tx.Exec(bounded(t), "insert into t values (1)")
			require.NoError(t, err)
			gone(t, int(tx.Conn().PgConn().PID()))
			err = c.last(bounded(t), tx)
			require.ErrorContains(t, err, c.code)
			assert.Equal(t, retryable, next(t, err), "%v", err)
			_ = tx.Rollback(bounded(t))
			assert.Zero(t, see.count("select count(*) from t"))
		})
	}
	t.Run("a write on a lease", func(t *testing.T) {
		t.Parallel()
		p := newPoolAt(t, withParam(dsn, "idle_session_timeout", "50ms"), &pool.Config{Logger: (&logs{}).logger()})
		l, err := p.Acquire(bounded(t))
		require.NoError(t, err)
		defer l.Release()
		gone(t, pid(t, l))
		_, err = l.Exec(bounded(t), "insert into t values (3)")
		require.ErrorContains(t, err, "57P05")
		assert.Equal(t, retryable, next(t, err), "%v", err)
		assert.Zero(t, see.count("select count(*) from t where id = 3"))
	})
	t.Run("a pooler has no server", func(t *testing.T) {
		t.Parallel()
		dsn := bouncer(t, dsn, "default_pool_size = 1", "query_wait_timeout = 1")
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger(), Upstream: pool.UpstreamPgBouncer, Lanes: pool.Off})
		require.NoError(t, p.Ping(bounded(t)))
		other, err := pgx.Connect(bounded(t), dsn)
		require.NoError(t, err)
		defer other.Close(context.Background())
		_, err = other.Exec(bounded(t), "begin; select 1")
		require.NoError(t, err)
		_, err = p.Exec(bounded(t), "insert into t values (4)")
		require.ErrorContains(t, err, "query_wait_timeout")
		assert.Equal(t, retryable, next(t, err), "%v", err)
		assert.Zero(t, see.count("select count(*) from t where id = 4"))
	})
	t.Run("a pooler's", func(t *testing.T) {
		t.Parallel()
		p := newPoolAt(t, bouncer(t, dsn, "idle_transaction_timeout = 1"), &pool.Config{Logger: (&logs{}).logger(), Upstream: pool.UpstreamPgBouncer})
		tx, err := p.Begin(bounded(t))
		require.NoError(t, err)
		var pid int
		require.NoError(t, tx.QueryRow(bounded(t), "insert into t values (1) returning pg_backend_pid()").Scan(&pid))
		gone(t, pid)
		err = tx.Commit(bounded(t))
		require.ErrorContains(t, err, "idle transaction timeout")
		assert.Equal(t, retryable, next(t, err), "%v", err)
	})
}
