package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// Retryable says that nothing has happened, for certain. So it is false after something was committed, whatever the code
// of the error, and true where the code says so and nothing can have been.
func TestRetryableSaysThatNothingWasCommitted(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(twiceSchema + byHandSchema + `
		create procedure sleeps() language plpgsql as $$ begin insert into twice values ('x'); commit; perform pg_sleep(5); end $$;
		create procedure loses() language plpgsql as $$ begin raise 'lost' using errcode = '40001'; end $$;
		create table locked (n int)`)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, Logger: (&logs{}).logger()})
	exec := func(sql string, args ...any) func(context.Context) error {
		return func(ctx context.Context) error { _, err := p.Exec(ctx, sql, args...); return err }
	}
	batch := func(sqls ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			b := &pgx.Batch{}
			for _, sql := range sqls {
				b.Queue(sql)
			}
			return p.SendBatch(ctx, b).Close()
		}
	}
	inTx := func(sqls ...string) func(context.Context) error {
		return func(ctx context.Context) error { return pool.InTx(ctx, p, pool.TxOptions{}, tell(sqls...)) }
	}
	begin := func(last func(context.Context, pgx.Tx) error, sqls ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			tx, err := p.Begin(ctx)
			require.NoError(t, err)
			defer tx.Rollback(ctx)
			require.NoError(t, tell(sqls...)(ctx, tx))
			return last(ctx, tx)
		}
	}
	lease := func(sqls ...string) func(context.Context) error {
		return func(ctx context.Context) (err error) {
			l, lerr := p.Acquire(ctx)
			require.NoError(t, lerr)
			defer l.Release()
			for i, sql := range sqls {
				if _, err = l.Exec(ctx, sql); err != nil {
					assert.Equal(t, len(sqls)-1, i)
				}
			}
			return err
		}
	}
	const insert, lost = "insert into twice values ('x')", "select lost_a_race()"
	for what, c := range map[string]struct {
		run       func(context.Context) error
		committed bool
	}{
		"a procedure, 26000":         {exec("call executes($1, $2)", "x", "26000"), true},
		"a procedure, 40001":         {exec("call commits($1, $2)", "x", "40001"), true},
		"a procedure, 40001, simple": {exec("call commits('x', '40001')"), true},
		"a DO, 40P01":                {exec("do $$ begin insert into twice values ('x'); commit; raise 'x' using errcode = '40P01'; end $$"), true},
		"several statements":         {exec(insert + "; commit; " + lost), true},
		"rows of a procedure":        {func(ctx context.Context) error { return read(p.Query(ctx, "call commits($1, $2)", "x", "55P03")) }, true},
		"a row of a procedure":       {func(ctx context.Context) error { return p.QueryRow(ctx, "call commits($1, $2)", "x", "55P03").Scan() }, true},
		"a named argument":           {exec("call commits(@id, @code)", pgx.NamedArgs{"id": "x", "code": "40001"}), true},
		"a batch with COMMIT":        {batch("begin", insert, "commit", lost), true},
		"a batch with a procedure":   {batch("call commits('x', '40001')"), true},
		"InTx, and chain":            {inTx(insert, "commit and chain", lost), true},
		"InTx, commit":               {inTx(insert, "commit", lost), true},
		"InTx, at COMMIT":            {inTx(insert, "commit and chain", "insert into c values (1)"), true},
		"a transaction, and chain":   {begin(tell(lost), insert, "commit and chain"), true},
		"a transaction, commit":      {begin(tell(lost), insert, "commit"), true},
		"a transaction, rows":        {begin(func(ctx context.Context, tx pgx.Tx) error { return read(tx.Query(ctx, lost)) }, insert, "commit and chain"), true},
		"a transaction, at its end":  {begin(func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) }, insert, "commit and chain", "insert into c values (1)"), true},
		"a lease, and chain":         {lease("begin", insert, "commit and chain", lost), true},
		"a procedure that is cancelled": {func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			defer cancel()
			return exec("call sleeps()")(ctx)
		}, true},

		"a statement":                  {exec(lost), false},
		"a statement of several":       {exec("select 1; " + lost), false},
		"a command that waits":         {exec("set lock_timeout = '1ms'; alter table locked add m int"), false},
		"a batch":                      {batch(insert, lost), false},
		"a batch that fails at COMMIT": {batch("begin", insert, "insert into c values (1)", "commit"), false},
		"a procedure in a transaction": {inTx(insert, "call loses()"), false},
		"InTx":                         {inTx(insert, lost), false},
		"InTx, at its end":             {inTx(insert, "insert into c values (1)"), false},
		"a transaction":                {begin(tell(lost), insert), false},
		"a transaction on a lease that has committed": {lease(insert+"; commit", "truncate twice", "begin", insert, lost), false},
		"a procedure that was not sent": {func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			l, err := p.Acquire(ctx)
			require.NoError(t, err)
			defer l.Release()
			cancel()
			_, err = l.Exec(ctx, "call commits('x', '40001')")
			return err
		}, false},
	} {
		see.exec("truncate twice")
		other, err := pgx.Connect(bounded(t), dsn) // holds a lock
		require.NoError(t, err)
		_, err = other.Exec(bounded(t), "begin; lock table locked")
		require.NoError(t, err)
		err = c.run(bounded(t))
		require.NoError(t, other.Close(bounded(t)))
		if !assert.Error(t, err, what) {
			continue
		}
		eventually(t, what, func() bool { return p.Stat().AcquiredConns() == 0 })
		assert.Equal(t, c.committed, see.count("select count(*) from twice") > 0, "%s: %v", what, err)
		assert.Equal(t, !c.committed, pool.Retryable(err), "%s: %v", what, err)
		assert.False(t, pool.OutcomeUnknown(err), "%s: %v", what, err)
	}
}
