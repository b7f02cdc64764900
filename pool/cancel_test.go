package pool_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// patience is a CancelWait that no noise of this machine uses up: with it a connection is
// lost to a cancel for a reason only.
const patience = 10 * time.Second

// cancelLab is a pool with one connection, and a table to write to.
type cancelLab struct {
	t   testing.TB
	ctx context.Context
	p   *pool.Pool
	see *inspector
	pid int
}

func newCancelLab(t testing.TB, c *pool.Config) *cancelLab {
	t.Helper()
	return newCancelLabAt(t, pgtest.Database(t), c)
}

func newCancelLabAt(t testing.TB, dsn string, c *pool.Config) *cancelLab {
	t.Helper()
	if c == nil {
		c = &pool.Config{}
	}
	c.MaxConns, c.Logger = 1, (&logs{}).logger()
	if c.CancelWait == 0 {
		c.CancelWait = patience
	}
	b := &cancelLab{t: t, ctx: bounded(t), see: newInspector(t, dsn)}
	b.p = newPoolAt(t, dsn, c)
	_, err := b.p.Exec(b.ctx, "create table t (n int)")
	require.NoError(t, err)
	b.pid = pid(t, b.p)
	return b
}

// stopped runs use under a ctx that ends while its statement, with pg_sleep in it, runs.
func (b *cancelLab) stopped(use func(context.Context) error) error {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- use(ctx) }()
	eventually(b.t, "it runs", func() bool { return b.see.running("%pg_sleep(30)%") == 1 })
	cancel()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * patience):
		require.Fail(b.t, "the cancelled statement does not return")
		return nil
	}
}

// kept checks that the connection is there as if nothing had happened.
func (b *cancelLab) kept() {
	b.t.Helper()
	assert.Equal(b.t, b.pid, pid(b.t, b.p), "the connection is another one")
	s := b.p.Stat()
	assert.EqualValues(b.t, 1, s.NewConnsCount())
	assert.Zero(b.t, s.Cancels().Lost)
	assert.Zero(b.t, b.see.running("%pg_sleep(30)%"), "it still runs")
}

// isCanceled checks that err tells both what the ctx and what the server said.
func isCanceled(t testing.TB, err error) {
	t.Helper()
	assert.ErrorIs(t, err, context.Canceled)
	var pg *pgconn.PgError
	if assert.ErrorAs(t, err, &pg) {
		assert.Equal(t, "57014", pg.Code)
	}
	assert.False(t, pool.OutcomeUnknown(err), "the server said that it has not happened: %v", err)
}

func TestACancelledStatementKeepsItsConnection(t *testing.T) {
	t.Parallel()
	const insert = "insert into t select 1 from pg_sleep(30)"
	tx := func(use func(context.Context, pgx.Tx) error) func(context.Context, *pool.Pool) error {
		return func(ctx context.Context, p *pool.Pool) error {
			x, err := p.Begin(ctx)
			if err != nil {
				return err
			}
			err = use(ctx, x)
			return errors.Join(err, x.Rollback(ctx)) // as a defer would, with a ctx that has ended
		}
	}
	for name, use := range map[string]func(context.Context, *pool.Pool) error{
		"exec": func(ctx context.Context, p *pool.Pool) error {
			_, err := p.Exec(ctx, insert)
			return err
		},
		"exec, simple protocol": func(ctx context.Context, p *pool.Pool) error {
			_, err := p.Exec(ctx, insert, pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"query row": func(ctx context.Context, p *pool.Pool) error {
			return p.QueryRow(ctx, "select 1 from pg_sleep(30)").Scan(new(int))
		},
		"query": func(ctx context.Context, p *pool.Pool) error {
			r, err := p.Query(ctx, "insert into t select 1 from pg_sleep(30) returning n")
			if err != nil {
				return err
			}
			r.Close()
			return r.Err()
		},
		"rows": func(ctx context.Context, p *pool.Pool) error {
			r, err := p.Query(ctx, rowsThenSleep)
			if err != nil {
				return err
			}
			for r.Next() {
			}
			return r.Err()
		},
		"batch": func(ctx context.Context, p *pool.Pool) error {
			q := &pgx.Batch{}
			q.Queue("insert into t values (2)")
			q.Queue(insert)
			return p.SendBatch(ctx, q).Close()
		},
		"copy": func(ctx context.Context, p *pool.Pool) error {
			_, err := p.Exec(ctx, `create function wait() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return new; end $$;
				create trigger wait before insert on t for each row execute function wait()`)
			if err != nil {
				return err
			}
			_, err = p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}, {2}}))
			return err
		},
		"lease": func(ctx context.Context, p *pool.Pool) error {
			l, err := p.Acquire(ctx)
			if err != nil {
				return err
			}
			defer l.Release()
			_, err = l.Exec(ctx, insert)
			return err
		},
		"transaction": tx(func(ctx context.Context, x pgx.Tx) error {
			_, err := x.Exec(ctx, insert)
			return err
		}),
		"transaction's query row": tx(func(ctx context.Context, x pgx.Tx) error {
			return x.QueryRow(ctx, "select 1 from pg_sleep(30)").Scan(new(int))
		}),
		"transaction's open rows": tx(func(ctx context.Context, x pgx.Tx) error {
			r, err := x.Query(ctx, rowsThenSleep)
			if err != nil {
				return err
			}
			for r.Next() {
			}
			return r.Err()
		}),
		"savepoint": tx(func(ctx context.Context, x pgx.Tx) error {
			sp, err := x.Begin(ctx)
			if err != nil {
				return err
			}
			_, err = sp.Exec(ctx, insert)
			return errors.Join(err, sp.Rollback(ctx))
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newCancelLab(t, nil)
			pattern := "%pg_sleep(30)%"
			if name == "copy" {
				pattern = "copy %"
			}
			ctx, cancel := context.WithCancel(b.ctx)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- use(ctx, b.p) }()
			eventually(t, "it runs", func() bool { return b.see.running(pattern) == 1 })
			cancel()
			isCanceled(t, ends(t, "the cancelled statement", done))
			b.kept()
			assert.Zero(t, b.see.count("select count(*) from t"))
		})
	}
}

func TestADeadlineIsInTheChainOfACancelledStatement(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, nil)
	eventually(t, "its session is reset", func() bool { return b.p.Stat().IdleConns() == 1 })
	err := inTime(t, 200*time.Millisecond, wasSent, func(ctx context.Context) error { return second(b.p.Exec(ctx, "select pg_sleep(30)")) })
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	var pg *pgconn.PgError
	require.ErrorAs(t, err, &pg)
	assert.Equal(t, "lmipool: canceled: context deadline exceeded: "+pg.Error(), err.Error())
	var timeout net.Error
	assert.True(t, errors.As(err, &timeout) && timeout.Timeout())
	b.kept()
}

// A 57014 that is nobody's ctx is the server's own word.
func TestAServersOwnTimeoutIsNoCancel(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, nil)
	l, err := b.p.Acquire(b.ctx)
	require.NoError(t, err)
	_, err = l.Exec(b.ctx, "set statement_timeout = 20")
	require.NoError(t, err)
	_, err = l.Exec(b.ctx, "select pg_sleep(30)")
	var pg *pgconn.PgError
	require.ErrorAs(t, err, &pg)
	assert.Equal(t, "57014", pg.Code)
	assert.NotErrorIs(t, err, context.Canceled)
	assert.NotContains(t, err.Error(), "lmipool")
	l.Release()
	assert.Zero(t, b.p.Stat().Cancels().Requests)
}

func TestALeaseGoesOnAfterACancel(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, nil)
	l, err := b.p.Acquire(b.ctx)
	require.NoError(t, err)
	for range 20 {
		isCanceled(t, b.stopped(func(ctx context.Context) error { _, err := l.Exec(ctx, "select pg_sleep(30)"); return err }))
		var n int
		require.NoError(t, l.QueryRow(b.ctx, "select pg_backend_pid() from generate_series(1, 1000)").Scan(&n))
		require.Equal(t, b.pid, n)
	}
	// Who takes the connection itself gets it settled.
	isCanceled(t, b.stopped(func(ctx context.Context) error { _, err := l.Exec(ctx, "select pg_sleep(30)"); return err }))
	require.NoError(t, l.Conn().Ping(b.ctx))
	l.Release()
	b.kept()
}

func TestASavepointOutlivesACancel(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, nil)
	x, err := b.p.Begin(b.ctx)
	require.NoError(t, err)
	_, err = x.Exec(b.ctx, "insert into t values (1)")
	require.NoError(t, err)
	isCanceled(t, b.stopped(func(ctx context.Context) error {
		sp, err := x.Begin(ctx)
		if err != nil {
			return err
		}
		_, err = sp.Exec(ctx, "insert into t select 2 from pg_sleep(30)")
		return errors.Join(err, sp.Rollback(ctx))
	}))
	dead, cancel := context.WithCancel(b.ctx)
	sp, err := x.Begin(dead)
	require.NoError(t, err)
	_, err = sp.Exec(dead, "insert into t values (3)")
	require.NoError(t, err)
	cancel()
	err = sp.Commit(dead)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, sp.Commit(dead), pgx.ErrTxClosed)
	require.NoError(t, x.Commit(b.ctx), "what the savepoint did was undone, so the rest can go on")
	assert.Equal(t, 1, b.see.count("select count(*) from t where n = 1"))
	assert.Equal(t, 1, b.see.count("select count(*) from t"), "a commit that failed must not come in with another")
	b.kept()
}

func TestACommitWithADeadCtxIsNotSent(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"pool", "lease"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newCancelLab(t, nil)
			var x pgx.Tx
			var err error
			if kind == "pool" {
				x, err = b.p.Begin(b.ctx)
			} else {
				l, lerr := b.p.Acquire(b.ctx)
				require.NoError(t, lerr)
				defer l.Release()
				x, err = l.Begin(b.ctx)
				defer func() { assert.NoError(t, l.Ping(b.ctx), "the lease goes on") }()
			}
			require.NoError(t, err)
			_, err = x.Exec(b.ctx, "insert into t values (1)")
			require.NoError(t, err)
			dead, cancel := context.WithCancel(b.ctx)
			cancel()
			err = x.Commit(dead)
			assert.EqualError(t, err, "lmipool: commit was not sent: the context had ended before the call: context canceled")
			assert.ErrorIs(t, err, context.Canceled)
			assert.False(t, pool.OutcomeUnknown(err))
			assert.True(t, pgconn.SafeToRetry(err))
			assert.ErrorIs(t, x.Rollback(dead), pgx.ErrTxClosed)
			assert.ErrorIs(t, x.Commit(dead), pgx.ErrTxClosed)
			if kind == "pool" {
				b.kept()
			}
			eventually(t, "rolled back", func() bool {
				return b.see.count("select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'") == 0
			})
			assert.Zero(t, b.see.count("select count(*) from t"))
		})
	}
}

// A COMMIT whose ctx ends while it runs is not cancelled: its answer is waited for.
func TestACommitThatRunsIsNotCancelled(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, nil)
	_, err := b.p.Exec(b.ctx, `create function wait() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$;
		create constraint trigger wait after insert on t deferrable initially deferred for each row execute function wait()`)
	require.NoError(t, err)
	x, err := b.p.Begin(b.ctx)
	require.NoError(t, err)
	_, err = x.Exec(b.ctx, "insert into t values (1)")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- x.Commit(ctx) }()
	eventually(t, "it runs", func() bool { return b.see.running("commit") == 1 })
	cancel()
	assert.NoError(t, ends(t, "the commit", done))
	assert.Equal(t, 1, b.see.count("select count(*) from t"))
	assert.Zero(t, b.p.Stat().Cancels().Requests)
	b.kept()
}

func TestRowsThatAreReadOnAfterTheirCtxKeepTheConnection(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, &pool.Config{CancelWait: 300 * time.Millisecond})
	ctx, cancel := context.WithCancel(b.ctx)
	r, err := b.p.Query(ctx, rowsThenSleep)
	require.NoError(t, err)
	require.True(t, r.Next())
	cancel()
	eventually(t, "the server has stopped it", func() bool { return b.see.running("%pg_sleep(30)%") == 0 })
	time.Sleep(2 * 300 * time.Millisecond) // not to wait for something: the caller comes back when CancelWait is long over
	for r.Next() {
	}
	isCanceled(t, r.Err())
	b.kept()
}

// A call that runs when its invocation ends is cancelled too, whatever its ctx.
func TestAStragglersStatementIsCancelled(t *testing.T) {
	t.Parallel()
	for name, detach := range map[string]func(context.Context) context.Context{
		"with the invocation's ctx":  func(ctx context.Context) context.Context { return ctx },
		"with a ctx that never ends": context.WithoutCancel,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newCancelLab(t, nil)
			inv, scope := b.p.OpenScope(b.ctx, "", time.Time{})
			done := make(chan error, 1)
			go func() {
				_, err := b.p.Exec(detach(inv), "insert into t select 1 from pg_sleep(30)")
				done <- err
			}()
			eventually(t, "it runs", func() bool { return b.see.running("%pg_sleep(30)%") == 1 })
			scope.End()
			err := ends(t, "the straggler", done)
			var pg *pgconn.PgError
			require.ErrorAs(t, err, &pg)
			assert.Equal(t, "57014", pg.Code)
			if name == "with a ctx that never ends" {
				assert.ErrorIs(t, err, pool.ErrInvocationEnded)
			} else {
				assert.ErrorIs(t, err, context.Canceled)
			}
			assert.False(t, pool.OutcomeUnknown(err))
			b.kept()
		})
	}
}

// With the raw connection everything is pgx's: WaitForNotification and its timeout, too.
func TestTheRawConnectionCancelsAsPgxDoes(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, nil)
	l, err := b.p.Acquire(b.ctx)
	require.NoError(t, err)
	c := l.Conn()
	for range 3 {
		short, cancel := context.WithTimeout(b.ctx, time.Millisecond)
		_, err = c.WaitForNotification(short)
		cancel()
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.NoError(t, c.Ping(b.ctx))
	l.Release()
	b.kept()
	assert.Zero(t, b.p.Stat().Cancels().Requests)
}

func TestWithoutCancelWaitACancelCostsTheConnectionAsInPgx(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, &pool.Config{CancelWait: -1})
	err := b.stopped(func(ctx context.Context) error { _, err := b.p.Exec(ctx, "select pg_sleep(30)"); return err })
	assert.ErrorIs(t, err, context.Canceled)
	assert.True(t, pool.OutcomeUnknown(err))
	assert.NotEqual(t, b.pid, pid(t, b.p))
	assert.Zero(t, b.p.Stat().Cancels().Lost, "nobody waited")
}

func TestAHandlerOfTheUsersOwnStays(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, &pool.Config{BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
		c.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: pc, DeadlineDelay: patience}
		}
		return nil
	}})
	err := b.stopped(func(ctx context.Context) error { _, err := b.p.Exec(ctx, "select pg_sleep(30)"); return err })
	var pg *pgconn.PgError
	require.ErrorAs(t, err, &pg)
	assert.NotErrorIs(t, err, context.Canceled)
	b.kept()
}

// A cancel connection of a connection with TLS has TLS, and takes longer.
func TestACancelOverTLSKeepsTheConnection(t *testing.T) {
	t.Parallel()
	dsn := strings.Replace(startTLS(t).ConnString(), "sslmode=disable", "sslmode=require", 1)
	b := newCancelLabAt(t, dsn, nil)
	for range 5 {
		isCanceled(t, b.stopped(func(ctx context.Context) error { _, err := b.p.Exec(ctx, "select pg_sleep(30)"); return err }))
	}
	b.kept()
}

func TestCancelErrorsNameNoSecret(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, nil)
	err := b.stopped(func(ctx context.Context) error {
		_, err := b.p.Exec(ctx, "select pg_sleep(30), $1::text", "hunter2")
		return err
	})
	assert.NotContains(t, err.Error(), "hunter2")
	assert.Equal(t, 1, strings.Count(err.Error(), "lmipool:"))
}
