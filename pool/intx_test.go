package pool_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// meter counts how often a connection waits for an answer.
type meter struct {
	net.Conn
	wrote atomic.Bool // CopyFrom reads and writes at once
	trips *atomic.Int64
}

func (m *meter) Write(b []byte) (int, error) {
	m.wrote.Store(true)
	return m.Conn.Write(b)
}

func (m *meter) Read(b []byte) (int, error) {
	if m.wrote.Swap(false) {
		m.trips.Add(1)
	}
	return m.Conn.Read(b)
}

// metered is a BeforeConnect that counts round trips.
func metered(trips *atomic.Int64) func(context.Context, *pgx.ConnConfig) error {
	return wrapped(func(c *net.TCPConn) net.Conn { return &meter{Conn: c, trips: trips} })
}

// accounts is a database with a table of two accounts.
func accounts(t testing.TB) (dsn string, see *inspector) {
	t.Helper()
	dsn = pgtest.Database(t)
	see = newInspector(t, dsn)
	_, err := see.c.Exec(bounded(t), "create table account (id int primary key, n int not null); insert into account values (1, 100), (2, 100)")
	require.NoError(t, err)
	return dsn, see
}

// transfer is a transaction of three statements.
func transfer(ctx context.Context, tx pgx.Tx) error {
	for id, by := range map[int]int{1: -1, 2: 1} {
		if _, err := tx.Exec(ctx, "update account set n = n + $2 where id = $1", id, by); err != nil {
			return err
		}
	}
	var sum int
	return tx.QueryRow(ctx, "select sum(n) from account where id < $1", 10).Scan(&sum)
}

// beginners are all that InTx can be used with, on one database.
func beginners(t *testing.T, dsn string) map[string]pool.Beginner {
	ctx := bounded(t)
	p := newPoolAt(t, dsn, nil)
	plain := newPoolAt(t, dsn, &pool.Config{Plain: pool.On})
	px, err := pgxpool.New(ctx, dsn)
	require.NoError(t, err)
	t.Cleanup(px.Close)
	c, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(context.Background()) })
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	t.Cleanup(l.Release)
	return map[string]pool.Beginner{"pool": p, "plain pool": plain, "pgxpool": px, "conn": c, "lease": l}
}

func TestInTxCommitsOrRollsBackByTheError(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	ctx := bounded(t)
	total := 100
	for name, db := range beginners(t, dsn) {
		for _, opts := range []pool.TxOptions{{}, {TxOptions: pgx.TxOptions{IsoLevel: pgx.Serializable}}, {TxOptions: pgx.TxOptions{BeginQuery: "begin", CommitQuery: "commit"}}} {
			require.NoError(t, pool.InTx(ctx, db, opts, transfer), name)
			total++
			assert.Equal(t, total, see.count("select n from account where id = 2"), name)

			mine := errors.New("mine")
			err := pool.InTx(ctx, db, opts, func(ctx context.Context, tx pgx.Tx) error {
				require.NoError(t, transfer(ctx, tx))
				return mine
			})
			assert.Same(t, mine, err, name) //nolint:testifylint // it is returned as it is

			assert.PanicsWithValue(t, "mine", func() {
				_ = pool.InTx(ctx, db, opts, func(ctx context.Context, tx pgx.Tx) error {
					require.NoError(t, transfer(ctx, tx))
					panic("mine")
				})
			}, name)
			assert.Equal(t, total, see.count("select n from account where id = 2"), name)

			level := ""
			require.NoError(t, pool.InTx(ctx, db, opts, func(ctx context.Context, tx pgx.Tx) error {
				return tx.QueryRow(ctx, "select current_setting('transaction_isolation') || $1", "").Scan(&level)
			}))
			want := "read committed"
			if opts.IsoLevel != "" {
				want = string(opts.IsoLevel)
			}
			assert.Equal(t, want, level, name)
		}
	}
	assert.Zero(t, see.count("select count(*) from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()"))
}

func TestInTxOnATransactionIsASavepoint(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	ctx := bounded(t)
	p := newPoolAt(t, dsn, nil)
	mine := errors.New("mine")
	require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		require.NoError(t, pool.InTx(ctx, tx, pool.TxOptions{MaxRetries: 3}, transfer))
		err := pool.InTx(ctx, tx, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if err := transfer(ctx, tx); err != nil {
				return err
			}
			return mine
		})
		require.ErrorIs(t, err, mine)
		err = pool.InTx(ctx, tx, pool.TxOptions{TxOptions: pgx.TxOptions{IsoLevel: pgx.Serializable}}, transfer)
		require.ErrorContains(t, err, "TxOptions.TxOptions is {IsoLevel:serializable")
		return nil
	}))
	assert.Equal(t, 101, see.count("select n from account where id = 2"))
	require.ErrorContains(t, pool.InTx(ctx, p, pool.TxOptions{MaxRetries: -1}, transfer), "MaxRetries is -1: want 0 or more")
}

// Counted on the wire: pgx's own way takes one round trip more, in every exec mode that
// has something to send in front of which BEGIN can travel for certain.
func TestBeginTravelsWithTheFirstStatement(t *testing.T) {
	t.Parallel()
	dsn, _ := accounts(t)
	for _, mode := range []string{"", "cache_describe", "describe_exec", "exec"} {
		at := dsn
		if mode != "" {
			at = withParam(dsn, "default_query_exec_mode", mode)
		}
		trips := func(db pool.Beginner, trips *atomic.Int64) (least int64) {
			for range 8 { // prepares, and has new statements looked at behind its back
				before := trips.Load()
				require.NoError(t, pool.InTx(bounded(t), db, pool.TxOptions{}, transfer))
				if n := trips.Load() - before; least == 0 || n < least {
					least = n
				}
			}
			return least
		}
		var ours, theirs atomic.Int64
		cfg, err := pgxpool.ParseConfig(at)
		require.NoError(t, err)
		cfg.BeforeConnect = metered(&theirs)
		px, err := pgxpool.NewWithConfig(bounded(t), cfg)
		require.NoError(t, err)
		p := newPoolAt(t, at, &pool.Config{BeforeConnect: metered(&ours)})
		want, got := trips(px, &theirs), trips(p, &ours)
		px.Close()
		t.Logf("mode %q: %d round trips, pgxpool %d", mode, got, want)
		if mode == "exec" { // in which pgx sends batches past the pool
			want++
		}
		assert.Equal(t, want-1, got, mode)
	}
}

// What is sent first decides how BEGIN gets there; the transaction is the same.
func TestBeginIsThereWhateverComesFirst(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	ctx := bounded(t)
	var trips atomic.Int64
	p := newPoolAt(t, dsn, &pool.Config{BeforeConnect: metered(&trips)})
	first := map[string]func(ctx context.Context, tx pgx.Tx) error{
		"nothing": func(context.Context, pgx.Tx) error { return nil },
		"statement": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "update account set n = n + 1 where id = $1", 1)
			return err
		},
		"simple": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "update account set n = n + 1 where id = 1")
			return err
		},
		"several simple": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "update account set n = n + 1 where id = 1; update account set n = n + 1 where id = 2")
			return err
		},
		"rows": func(ctx context.Context, tx pgx.Tx) error {
			r, err := tx.Query(ctx, "update account set n = n + 1 where id = $1 returning n", 1)
			r.Close()
			return errors.Join(err, r.Err())
		},
		"batch": func(ctx context.Context, tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue("update account set n = n + 1 where id = $1", 1)
			b.Queue("update account set n = n + 1 where id = $1", 2)
			return tx.SendBatch(ctx, b).Close()
		},
		"copy": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"account"}, []string{"id", "n"}, pgx.CopyFromRows([][]any{{3, 0}}))
			return err
		},
		"large object": func(ctx context.Context, tx pgx.Tx) error {
			lo := tx.LargeObjects()
			_, err := lo.Create(ctx, 4711)
			return err
		},
		"prepare": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Prepare(ctx, "", "select 1")
			return err
		},
		"savepoint": func(ctx context.Context, tx pgx.Tx) error {
			s, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			if _, err := s.Exec(ctx, "update account set n = n + 1 where id = $1", 1); err != nil {
				return err
			}
			return s.Commit(ctx)
		},
		"raw": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Conn().PgConn().Exec(ctx, "update account set n = n + 1 where id = 1").ReadAll()
			return err
		},
	}
	first["raw copy"] = func(ctx context.Context, tx pgx.Tx) error {
		rows := strings.NewReader(strings.Repeat(strings.Repeat("x", 1000)+"\n", 2000))
		_, err := tx.Conn().PgConn().CopyFrom(ctx, rows, "copy lines from stdin")
		return err
	}
	_, err := see.c.Exec(ctx, "create table lines (line text)")
	require.NoError(t, err)
	mine := errors.New("mine")
	for name, f := range first {
		for _, commit := range []bool{false, true, false, true} {
			before := see.count("select sum(n) from account where id < 3")
			status := byte(0)
			err := pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				assert.Equal(t, byte('T'), tx.Conn().PgConn().TxStatus(), name)
				if name == "large object" {
					_, _ = see.c.Exec(ctx, "select lo_unlink(4711) from pg_largeobject_metadata where oid = 4711")
				}
				if name == "copy" {
					_, _ = see.c.Exec(ctx, "delete from account where id = 3")
				}
				if err := f(ctx, tx); err != nil {
					return err
				}
				if name != "nothing" {
					var own bool // it is in a block: a statement alone has its own id each time
					require.NoError(t, tx.QueryRow(ctx, "select pg_current_xact_id_if_assigned() is not null or $1", false).Scan(&own), name)
				}
				status = tx.Conn().PgConn().TxStatus()
				if !commit {
					return mine
				}
				return nil
			})
			assert.Equal(t, byte('T'), status, name)
			if commit {
				require.NoError(t, err, name)
			} else {
				require.ErrorIs(t, err, mine, name)
				assert.Equal(t, before, see.count("select sum(n) from account where id < 3"), name)
			}
		}
	}
	eventually(t, "everything is back and clean", func() bool { return p.Stat().IdleConns() == p.Stat().TotalConns() })
	eventually(t, "an empty transaction says nothing", func() bool { // the pool may ask whether the catalogs have changed meanwhile
		at := trips.Load()
		require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, first["nothing"]))
		return at == trips.Load()
	})
}

// BEGIN's own round trip may take longer than pgx thinks that a write takes.
func TestBeginIsThereFarAway(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	proxy := newProxy(t, dsn)
	proxy.SetRoundTrip(40 * time.Millisecond)
	p := newPoolAt(t, dsn, &pool.Config{BeforeConnect: through(proxy)})
	for range 3 {
		require.NoError(t, pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "update account set n = n + 1"); err != nil {
				return err
			}
			return transfer(ctx, tx)
		}))
	}
	assert.Equal(t, 106, see.count("select n from account where id = 2"))
}

// A BEGIN that fails takes the first statement with it: it must not run outside, and
// nothing that follows either.
func TestWhatFollowsAFailedBeginDoesNotRun(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	ctx := bounded(t)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	wrong := pool.TxOptions{TxOptions: pgx.TxOptions{IsoLevel: "wrong"}}
	update := func(args ...any) func(context.Context, pgx.Tx) error {
		sql := "update account set n = n + 1 where id = 1"
		if len(args) > 0 {
			sql = "update account set n = n + 1 where id = $1"
		}
		return func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, sql, args...); return err }
	}
	require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, update(1))) // prepares
	own := pid(t, p)
	for name, f := range map[string]func(context.Context, pgx.Tx) error{
		"prepared": update(1), "simple": update(),
		"not prepared": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "update account set n = n + 1 where id = $1 and true", 1)
			return err
		},
		"copy": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"account"}, []string{"id", "n"}, pgx.CopyFromRows([][]any{{3, 0}}))
			return err
		},
	} {
		err := pool.InTx(ctx, p, wrong, f)
		var pg *pgconn.PgError
		require.ErrorAs(t, err, &pg, name)
		assert.Equal(t, "42601", pg.Code, name)
		assert.Equal(t, own, pid(t, p), "the connection lives")
		// Who does not look at the error does not get further either.
		err = pool.InTx(ctx, p, wrong, func(ctx context.Context, tx pgx.Tx) error { _ = f(ctx, tx); return nil })
		require.ErrorIs(t, err, pgx.ErrTxCommitRollback, name)
		assert.Equal(t, own, pid(t, p), "the connection lives")
		err = pool.InTx(ctx, p, wrong, func(ctx context.Context, tx pgx.Tx) error { _ = f(ctx, tx); return f(ctx, tx) })
		require.Error(t, err)
		own = pid(t, p)
	}
	assert.Equal(t, 101, see.count("select n from account where id = 1"))
	assert.Equal(t, 2, see.count("select count(*) from account"))
}

// conflict has transactions a and b fail each other once, with code.
func TestInTxTriesAgainOnlyWhenAllowed(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4})
	serializable := pgx.TxOptions{IsoLevel: pgx.Serializable}
	// skew has the transaction read what somebody else writes before it has committed.
	skew := func(runs *atomic.Int64, until int64) func(context.Context, pgx.Tx) error {
		return func(ctx context.Context, tx pgx.Tx) error {
			var n int
			if err := tx.QueryRow(ctx, "select n from account where id = $1", 1).Scan(&n); err != nil {
				return err
			}
			if runs.Add(1) <= until {
				_, err := p.Exec(context.Background(), "update account set n = n + 1 where id = $1", 1)
				require.NoError(t, err)
			}
			_, err := tx.Exec(ctx, "update account set n = $2 where id = $1", 1, n+1)
			return err
		}
	}
	var runs atomic.Int64
	err := pool.InTx(bounded(t), p, pool.TxOptions{TxOptions: serializable}, skew(&runs, 5))
	var pg *pgconn.PgError
	require.ErrorAs(t, err, &pg)
	assert.Equal(t, "40001", pg.Code)
	assert.EqualValues(t, 1, runs.Load())

	runs.Store(0)
	require.NoError(t, pool.InTx(bounded(t), p, pool.TxOptions{TxOptions: serializable, MaxRetries: 3}, skew(&runs, 2)))
	assert.EqualValues(t, 3, runs.Load())

	runs.Store(0)
	err = pool.InTx(bounded(t), p, pool.TxOptions{TxOptions: serializable, MaxRetries: 2}, skew(&runs, 99))
	require.ErrorAs(t, err, &pg)
	assert.ErrorContains(t, err, "failed 3 times")
	assert.EqualValues(t, 3, runs.Load())
	assert.False(t, pool.OutcomeUnknown(err))

	// No time for another try: the last error at once, not the ctx's.
	runs.Store(0)
	ctx, cancel := context.WithTimeout(bounded(t), 400*time.Millisecond)
	defer cancel()
	err = pool.InTx(ctx, p, pool.TxOptions{TxOptions: serializable, MaxRetries: 1000}, skew(&runs, 1<<30))
	assert.Error(t, err)
	if ctx.Err() == nil {
		require.ErrorAs(t, err, &pg)
	}
	assert.Less(t, runs.Load(), int64(1000))

	// Any other error is not tried again.
	runs.Store(0)
	err = pool.InTx(bounded(t), p, pool.TxOptions{MaxRetries: 3}, func(ctx context.Context, tx pgx.Tx) error {
		runs.Add(1)
		_, err := tx.Exec(ctx, "insert into account values ($1, 0)", 1)
		return err
	})
	require.ErrorAs(t, err, &pg)
	assert.EqualValues(t, 1, runs.Load())
	assert.Positive(t, see.count("select n from account where id = 1"))
}

func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	p := newPoolAt(t, withParam(dsn, "deadlock_timeout", "20ms"), &pool.Config{MaxConns: 4})
	var met sync.WaitGroup // both have one lock, in their first try
	met.Add(2)
	var g sync.WaitGroup
	var runs atomic.Int64
	for _, ids := range [][2]int{{1, 2}, {2, 1}} {
		g.Go(func() {
			try := 0
			assert.NoError(t, pool.InTx(bounded(t), p, pool.TxOptions{MaxRetries: 5}, func(ctx context.Context, tx pgx.Tx) error {
				try++
				runs.Add(1)
				for i, id := range ids {
					if _, err := tx.Exec(ctx, "update account set n = n + 1 where id = $1", id); err != nil {
						return err
					}
					if try == 1 && i == 0 {
						met.Done()
						met.Wait()
					}
				}
				return nil
			}))
		})
	}
	g.Wait()
	assert.GreaterOrEqual(t, runs.Load(), int64(3))
	assert.Equal(t, 204, see.count("select sum(n) from account"))
}

// A COMMIT whose answer is lost may have happened: it is not tried again, whatever
// MaxRetries says. A lost statement before it has certainly not.
func TestALostCommitIsUnknownAndNotTriedAgain(t *testing.T) {
	t.Parallel()
	dsn, _ := accounts(t)
	proxy := newProxy(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{BeforeConnect: through(proxy)})
	runs := 0
	err := pool.InTx(bounded(t), p, pool.TxOptions{MaxRetries: 5}, func(ctx context.Context, tx pgx.Tx) error {
		runs++
		if err := transfer(ctx, tx); err != nil {
			return err
		}
		proxy.Cut()
		return nil
	})
	require.Error(t, err)
	assert.True(t, pool.OutcomeUnknown(err), "%v", err)
	assert.Equal(t, 1, runs)

	err = pool.InTx(bounded(t), p, pool.TxOptions{MaxRetries: 5}, func(ctx context.Context, tx pgx.Tx) error {
		runs++
		proxy.Cut()
		return transfer(ctx, tx)
	})
	require.Error(t, err)
	assert.False(t, pool.OutcomeUnknown(err), "nothing was committed: %v", err)
	assert.Equal(t, 3, runs, "once more, and no further: fn may be what ends it")
}

// A transaction whose ctx ends is rolled back, is no unknown outcome, and costs no connection.
func TestInTxWhoseCtxHasEndedRollsBack(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	own := pid(t, p)
	for _, fnErr := range []error{nil, errors.New("mine"), context.Canceled} {
		ctx, cancel := context.WithCancel(bounded(t))
		err := pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if err := transfer(ctx, tx); err != nil {
				return err
			}
			cancel()
			return fnErr
		})
		if fnErr == nil {
			fnErr = context.Canceled
		}
		require.ErrorIs(t, err, fnErr)
		assert.False(t, pool.OutcomeUnknown(err))
		assert.Equal(t, own, pid(t, p), "its connection lives")
	}
	assert.Equal(t, 100, see.count("select n from account where id = 2"))
}

// A function that ends the transaction itself has its way, and is not run again.
func TestAFunctionMayEndItsTransactionItself(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	p := newPoolAt(t, dsn, nil)
	runs := 0
	err := pool.InTx(bounded(t), p, pool.TxOptions{MaxRetries: 3}, func(ctx context.Context, tx pgx.Tx) error {
		runs++
		if err := transfer(ctx, tx); err != nil {
			return err
		}
		if err := tx.Commit(ctx); err != nil {
			return err
		}
		return &pgconn.PgError{Code: "40001"}
	})
	require.Error(t, err)
	assert.Equal(t, 1, runs)
	assert.Equal(t, 101, see.count("select n from account where id = 2"))
}

// withParam is dsn with one more setting.
func withParam(dsn, key, value string) string {
	return dsn + "&" + key + "=" + url.QueryEscape(value)
}
