package pool_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// byHand are ways to end a transaction in SQL. In most, another is open afterwards.
var byHand = map[string]func(ctx context.Context, tx pgx.Tx) error{
	"commit and chain": tell("commit and chain"), "COMMIT WORK AND CHAIN": tell("COMMIT /* x */ WORK AND CHAIN"), "end and chain": tell("end and chain"),
	"commit; begin":                       tell("commit; begin"),
	"commit, begin":                       tell("commit", "begin"),
	"commit, insert, start transaction":   tell("commit", "insert into t values (2)", "start transaction"),
	"rollback, insert, begin":             tell("rollback", "insert into t values (2)", "begin"),
	"abort; begin, insert, commit; begin": tell("abort; begin", "insert into t values (2)", "commit; begin isolation level serializable"),
	"rollback, a procedure, begin":        tell("rollback", "call adds()", "begin"),
	"prepare transaction, begin":          tell("prepare transaction 'x'; begin", "commit; rollback prepared 'x'; insert into t values (2); begin"),
	"commit":                              tell("commit", "insert into t values (2)"),
	"in a batch": func(ctx context.Context, tx pgx.Tx) error {
		b := &pgx.Batch{}
		for _, sql := range []string{"rollback", "call adds()", "begin"} {
			b.Queue(sql)
		}
		return tx.SendBatch(ctx, b).Close()
	},
	"by Query": func(ctx context.Context, tx pgx.Tx) error {
		return read(tx.Query(ctx, "commit and chain"))
	},
	"by a raw connection": func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Conn().PgConn().Exec(ctx, "commit and chain").ReadAll()
		return err
	},
	"in a savepoint": func(ctx context.Context, tx pgx.Tx) error {
		sp, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		_, err = sp.Exec(ctx, "commit and chain")
		return err
	},
	"before rows that stay open": func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Query(ctx, "commit and chain; select repeat('x', 1000) from generate_series(1, 1000)", pgx.QueryExecModeSimpleProtocol)
		return err
	},
}

// say says each by itself.
func tell(sql ...string) func(context.Context, pgx.Tx) error {
	return func(ctx context.Context, tx pgx.Tx) error {
		for _, sql := range sql {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}
}

const byHandSchema = `create table t (n int);
create procedure adds() language plpgsql as $$ begin insert into t values (2); commit; end $$;
create function lost_a_race() returns void language plpgsql as $$ begin raise 'lost' using errcode = '40001'; end $$;
create function at_commit() returns trigger language plpgsql as $$ begin perform lost_a_race(); return null; end $$;
create table c (n int);
create constraint trigger c after insert on c deferrable initially deferred for each row execute function at_commit();`

// What a function of InTx has committed itself is there, so it does not run again, however it
// fails afterwards.
func TestInTxDoesNotRepeatWhatEndedByHand(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(byHandSchema)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4})
	bound := p.With(map[string]string{"app.x": "1"})
	fails := map[string]func(ctx context.Context, tx pgx.Tx) error{
		"40001":           tell("select lost_a_race()"),
		"40001 at COMMIT": tell("insert into c values (1)"),
		"a 40001 of another's": func(ctx context.Context, _ pgx.Tx) error {
			_, err := see.c.Exec(ctx, "select lost_a_race()")
			return err
		},
	}
	for what, ends := range byHand {
		if what == "prepare transaction, begin" && see.count("select current_setting('max_prepared_transactions')::int") == 0 {
			continue
		}
		for how, fails := range fails {
			l, err := p.Acquire(ctx)
			require.NoError(t, err)
			for name, db := range map[string]pool.Beginner{"pool": p, "lease": l, "bound": bound} {
				if how != "a 40001 of another's" && what == "before rows that stay open" {
					continue
				}
				runs := 0
				err := pool.InTx(ctx, db, pool.TxOptions{MaxRetries: 2}, func(ctx context.Context, tx pgx.Tx) error {
					runs++
					if _, err := tx.Exec(ctx, "insert into t values ($1)", 1); err != nil {
						return err
					}
					if err := ends(ctx, tx); err != nil {
						return err
					}
					return fails(ctx, tx)
				})
				assert.ErrorContains(t, err, "SQLSTATE 40001", "%s, %s, %s", what, how, name)
				assert.Equal(t, 1, runs, "%s, %s, %s", what, how, name)
			}
			l.Release()
		}
	}
}

// The same holds for transactions whose answers the pool does not hear: of pgxpool, of a pool with Config.Plain, of a
// connection. There is a price: what might end the transaction and does not is not repeated either.
func TestInTxDoesNotRepeatWhatEndedByHandElsewhere(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(byHandSchema)
	theirs, err := pgxpool.New(ctx, dsn)
	require.NoError(t, err)
	defer theirs.Close()
	own, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer own.Close(ctx)
	plain := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, Plain: pool.On})
	insert := tell("insert into t values (1)")
	fails := map[string]func(ctx context.Context, tx pgx.Tx) error{
		"40001": tell("select lost_a_race()"), "40001 at COMMIT": tell("insert into c values (1)"),
	}
	ways := map[string]func(ctx context.Context, tx pgx.Tx) error{
		"prepared by name": func(ctx context.Context, tx pgx.Tx) error {
			name := "select" + strconv.Itoa(rand.Int())
			if _, err := tx.Prepare(ctx, name, "commit and chain"); err != nil {
				return err
			}
			return tell(name)(ctx, tx)
		},
		"by QueryRow": func(ctx context.Context, tx pgx.Tx) error {
			_ = tx.QueryRow(ctx, "commit and chain").Scan()
			return nil
		},
		"rewritten": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "select 1", rewritesTo("commit and chain"))
			return err
		},
	}
	maps.Copy(ways, byHand)
	for what, ends := range ways {
		if what == "before rows that stay open" || what == "prepare transaction, begin" && see.count("select current_setting('max_prepared_transactions')::int") == 0 {
			continue
		}
		for how, fails := range fails {
			for name, db := range map[string]pool.Beginner{"pgxpool": theirs, "plain": plain, "plain, bound": plain.With(map[string]string{"app.x": "1"}), "conn": own} {
				runs := 0
				err := pool.InTx(ctx, db, pool.TxOptions{MaxRetries: 2}, func(ctx context.Context, tx pgx.Tx) error {
					runs++
					for _, f := range []func(context.Context, pgx.Tx) error{insert, ends, fails} {
						if err := f(ctx, tx); err != nil {
							return err
						}
					}
					return nil
				})
				assert.ErrorContains(t, err, "SQLSTATE 40001", "%s, %s, %s", what, how, name)
				assert.Equal(t, 1, runs, "%s, %s, %s", what, how, name)
				assert.False(t, pool.Retryable(err), "%s, %s, %s", what, how, name)
			}
		}
	}
	for what, f := range map[string]func(ctx context.Context, tx pgx.Tx) error{
		"nothing":    tell(),
		"statements": tell("insert into t values (1)", "select 1; select 2", "savepoint s", "release s"),
		"arguments": func(ctx context.Context, tx pgx.Tx) error {
			return read(tx.Query(ctx, "select @n::int", pgx.NamedArgs{"n": 1}))
		},
		"a savepoint": func(ctx context.Context, tx pgx.Tx) error {
			return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return insert(ctx, tx) })
		},
	} {
		for name, db := range map[string]pool.Beginner{"pgxpool": theirs, "plain": plain, "conn": own} {
			runs := 0
			err := pool.InTx(ctx, db, pool.TxOptions{MaxRetries: 1}, func(ctx context.Context, tx pgx.Tx) error {
				runs++
				if err := f(ctx, tx); err != nil {
					return err
				}
				return tell("select lost_a_race()")(ctx, tx)
			})
			assert.ErrorContains(t, err, "failed 2 times", "%s, %s", what, name)
			assert.Equal(t, 2, runs, "%s, %s", what, name)
		}
	}
}

// rewritesTo is a rewriter of the user's.
type rewritesTo string

func (r rewritesTo) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return string(r), nil, nil
}

// A COMMIT by hand whose answer was lost may have happened: the function does not run again, and the
// error does not say that nothing has.
func TestInTxDoesNotRepeatACommitByHandThatWasLost(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(byHandSchema)
	for what, lost := range map[string]struct {
		run  func(ctx context.Context, tx pgx.Tx) error
		runs int
		rows int
	}{
		"a text of several":    {tell("commit and chain; select pg_sleep(60)"), 1, 1},
		"a text that prepares": {tell("prepare c as select 1; commit; select pg_sleep(60)"), 1, 1},
		"a batch": {func(ctx context.Context, tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue("commit and chain")
			b.Queue("select pg_sleep(60)")
			return tx.SendBatch(ctx, b).Close()
		}, 1, 1},
		"raw": {func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Conn().PgConn().Exec(ctx, "commit and chain; select pg_sleep(60)").ReadAll()
			return err
		}, 1, 1},
		"a read":            {tell("select pg_sleep(60)"), 2, 0},
		"reads":             {tell("select 1; select pg_sleep(60)"), 2, 0},
		"reads, one by one": {tell("select 1", "savepoint s", "select pg_sleep(60)"), 2, 0},
		"a batch of nothing": {func(ctx context.Context, tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue("update t set n = 2 where $1", false)
			b.Queue("select pg_sleep(60)")
			return tx.SendBatch(ctx, b).Close()
		}, 2, 0},
	} {
		see.exec("truncate t")
		proxy := newProxy(t, dsn)
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, BeforeConnect: through(proxy), Logger: (&logs{}).logger()})
		_, err := p.Exec(ctx, "insert into t select 1 where false") // so that the pool knows that it writes
		require.NoError(t, err)
		runs := 0
		err = pool.InTx(ctx, p, pool.TxOptions{MaxRetries: 3}, func(ctx context.Context, tx pgx.Tx) error {
			if runs++; runs > 1 {
				return errors.New("again")
			}
			if _, err := tx.Exec(ctx, "insert into t values ($1)", 1); err != nil {
				return err
			}
			cut := make(chan struct{})
			go func() {
				defer close(cut)
				for see.running("%pg_sleep(60)%") == 0 && ctx.Err() == nil {
				}
				proxy.Cut()
			}()
			defer func() { <-cut }()
			return lost.run(ctx, tx)
		})
		require.Error(t, err, what)
		assert.Equal(t, lost.runs, runs, "%s: %v", what, err)
		assert.Equal(t, lost.rows, see.count("select count(*) from t"), what)
		assert.Equal(t, lost.rows > 0, pool.OutcomeUnknown(err), "%s: %v", what, err)
	}
}

// What has committed nothing does run again: a savepoint that was rolled back is no end.
func TestInTxRepeatsWhatIsStillOneTransaction(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec(byHandSchema)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4})
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	defer l.Release()
	for what, f := range map[string]func(ctx context.Context, tx pgx.Tx) error{
		"nothing":           tell(),
		"a savepoint":       tell("savepoint s", "insert into t values (1)", "rollback to s", "release s"),
		"a savepoint twice": tell("savepoint s; rollback to savepoint s", "rollback to s"),
		"a savepoint of pgx's": func(ctx context.Context, tx pgx.Tx) error {
			sp, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			return sp.Rollback(ctx)
		},
		"begin, which is a warning": tell("begin"),
		"rollback and chain":        tell("insert into t values (1)", "rollback and chain"),
		"rows": func(ctx context.Context, tx pgx.Tx) error {
			return read(tx.Query(ctx, "select generate_series(1, $1::int)", 3))
		},
		"a settled setting": tell("set local work_mem = '8MB'; select 1"),
	} {
		for name, db := range map[string]pool.Beginner{"pool": p, "lease": l} {
			for how, fails := range map[string]func(context.Context, pgx.Tx) error{
				"40001": tell("select lost_a_race()"), "40001 at COMMIT": tell("insert into c values (1)"),
			} {
				runs := 0
				err := pool.InTx(ctx, db, pool.TxOptions{MaxRetries: 1}, func(ctx context.Context, tx pgx.Tx) error {
					runs++
					if err := f(ctx, tx); err != nil {
						return err
					}
					return fails(ctx, tx)
				})
				assert.ErrorContains(t, err, "failed 2 times", "%s, %s, %s", what, how, name)
				assert.Equal(t, 2, runs, "%s, %s, %s", what, how, name)
			}
		}
	}
}

// A query of the user's that begins or commits may have committed something before it fails.
func TestInTxDoesNotRepeatABeginOrCommitOfTheUsers(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(byHandSchema)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
	for what, opts := range map[string]pgx.TxOptions{
		"begin":  {BeginQuery: "insert into t values (1); commit; begin; select lost_a_race()"},
		"commit": {CommitQuery: "insert into t values (1); commit; select lost_a_race()"},
	} {
		see.exec("truncate t")
		err := pool.InTx(ctx, p, pool.TxOptions{TxOptions: opts, MaxRetries: 2}, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "select $1::int", 1)
			return err
		})
		var mine interface{ SQLState() string }
		require.True(t, errors.As(err, &mine) && mine.SQLState() == "40001", "%s: %v", what, err)
		assert.Equal(t, 1, see.count("select count(*) from t"), what)
	}
}
