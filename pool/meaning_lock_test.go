package pool_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// first are what may come first in a transaction and takes no snapshot.
var first = []string{
	"", "set local TimeZone = 'Asia/Tokyo'", "set local search_path = public", "set constraints all deferred", "reset TimeZone",
	"set local role none", "set local schema 'public'", "show work_mem", "savepoint a; release a",
}

// In REPEATABLE READ a transaction that begins with LOCK sees what was committed until it had the lock, whatever it has set before: nothing of
// the pool's own takes a snapshot in front of it.
func TestALockThatComesFirstSeesWhatItHasWaitedFor(t *testing.T) {
	t.Parallel()
	dsn, _ := meaningDatabase(t)
	see := newInspector(t, dsn)
	see.exec("create sequence s; create table k (n int); insert into k values (1)")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	ctx := bounded(t)
	for _, sql := range first {
		see.exec("update k set n = 1")
		require.NoError(t, say(ctx, p, "select nextval('s')"))
		other, err := newPgx(t, dsn).Begin(ctx)
		require.NoError(t, err)
		require.NoError(t, say(ctx, other, "update k set n = 2"))
		tx, err := p.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		require.NoError(t, err)
		if sql != "" {
			require.NoError(t, say(ctx, tx, sql))
		}
		done := make(chan error, 1)
		go func() { done <- say(ctx, tx, "lock table k in exclusive mode") }()
		eventually(t, "it waits", func() bool {
			return see.count("select count(*) from pg_locks where not granted and relation = 'k'::regclass") == 1
		})
		require.NoError(t, other.Commit(ctx))
		require.NoError(t, ends(t, "the lock", done))
		var n int
		require.NoError(t, tx.QueryRow(ctx, "select n from k").Scan(&n))
		assert.Equal(t, 2, n, sql)
		require.NoError(t, tx.Rollback(ctx))
	}
}

// And SET TRANSACTION may come behind it.
func TestSetTransactionMayComeBehindOtherSettings(t *testing.T) {
	t.Parallel()
	dsn, _ := meaningDatabase(t)
	newInspector(t, dsn).exec("create sequence s")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	ctx := bounded(t)
	for _, sql := range first[1:] {
		require.NoError(t, say(ctx, p, "select nextval('s')"))
		tx, err := p.Begin(ctx)
		require.NoError(t, err)
		require.NoError(t, say(ctx, tx, sql))
		assert.NoError(t, say(ctx, tx, "set transaction isolation level serializable"), sql)
		_, err = tx.Exec(ctx, "select currval('s')")
		assert.ErrorContains(t, err, "not yet defined in this session", sql)
		require.NoError(t, tx.Rollback(ctx))
	}
}
