package lmipool_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lmitest"
)

// situation is what goes wrong in a handler, which returns lmipool's error as it is, and what Lambda is to show.
type situation struct {
	errorType string
	is        error // by errors.Is; nil: nothing
	as        any   // by errors.As; nil: nothing
	happens   func(w world) error
}

// world is what a situation has to happen in.
type world struct {
	ctx context.Context // of the invocation
	dsn string
}

// open is a pool of the situation's own, which ends with the process.
func (w world) open(c lmipool.Config) *lmipool.Pool { return w.openAt(w.dsn, c) }

func (w world) openAt(dsn string, c lmipool.Config) *lmipool.Pool {
	db, err := lmipool.Open(w.ctx, dsn, &c)
	if err != nil {
		panic(err)
	}
	return db
}

// at is dsn with the host or the user changed.
func (w world) at(change func(*url.URL)) string {
	u, err := url.Parse(w.dsn)
	if err != nil {
		panic(err)
	}
	change(u)
	return u.String()
}

// soon is a ctx whose deadline is soon, and yet late enough for a dial on a busy machine.
func (w world) soon() context.Context {
	ctx, cancel := context.WithTimeout(w.ctx, 2*time.Second)
	time.AfterFunc(time.Minute, cancel)
	return ctx
}

// while calls f with a statement that takes long, and calls then when the server runs that.
func (w world) while(f func(sql string) error, then func()) error {
	look := w.open(lmipool.Config{MaxConns: 1})
	defer look.Close()
	sql := "select pg_sleep(60), '" + rand.Text() + "'"
	done := make(chan error, 1)
	go func() { done <- f(sql) }()
	for runs := false; !runs; {
		must(look.QueryRow(w.ctx, "select exists (select from pg_stat_activity where query = $1 and state = 'active')", sql).Scan(&runs))
	}
	then()
	return <-done
}

// proxied is a pool behind a proxy.
func (w world) proxied(c lmipool.Config) (*lmipool.Pool, *netfault.Proxy) {
	var host string
	w.at(func(u *url.URL) { host = u.Host })
	proxy, err := netfault.Listen(host)
	if err != nil {
		panic(err)
	}
	dsn := w.at(func(u *url.URL) { u.Host = proxy.Addr() })
	return w.openAt(dsn, c), proxy
}

func neverBegun(context.Context, int) (int, error) { return 0, nil }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

var situations = map[string]situation{
	"a nested acquire": {"NestedAcquireError", lmipool.ErrNestedAcquire, new(*lmipool.NestedAcquireError), func(w world) error {
		db := w.open(lmipool.Config{MaxConns: 1})
		return lmipool.InTx(w.ctx, db, lmipool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
			return lmipool.InTx(ctx, db, lmipool.TxOptions{}, func(context.Context, pgx.Tx) error { return nil })
		})
	}},
	"no connection in time": {"AcquireTimeoutError", context.DeadlineExceeded, new(*lmipool.AcquireError), func(w world) error {
		db := w.open(lmipool.Config{MaxConns: 1})
		l, err := db.Acquire(w.ctx)
		must(err)
		defer l.Release()
		return db.Ping(w.soon())
	}},
	"not enough time is left": {"NoTimeError", lmipool.ErrNoTime, new(*lmipool.NoTimeError), func(w world) error {
		db := w.open(lmipool.Config{MaxConns: 1})
		for range 2 {
			l, err := db.Acquire(w.ctx)
			must(err)
			defer l.Release()
			if db.Stat().AcquireCount() == 1 {
				time.Sleep(100 * time.Millisecond) // the pool knows how long its users have a connection
				l.Release()
			}
		}
		return db.Ping(w.soon())
	}},
	"the caller leaves the queue": {"AcquireCanceledError", context.Canceled, new(*lmipool.AcquireError), func(w world) error {
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		return w.open(lmipool.Config{}).Ping(ctx)
	}},
	"the server is full": {"ServerFullError", lmipool.ErrServerFull, new(*lmipool.AcquireError), func(w world) error {
		return w.openAt(w.at(func(u *url.URL) { u.User = url.User(os.Getenv("FULL_ROLE")) }), lmipool.Config{}).Ping(w.soon())
	}},
	"the server is away": {"ServerAwayError", lmipool.ErrServerAway, new(*lmipool.AcquireError), func(w world) error {
		db, proxy := w.proxied(lmipool.Config{})
		must(db.Ping(w.ctx))
		must(proxy.Refuse(true))
		proxy.Cut()
		return db.Ping(w.soon())
	}},
	"there was never a server": {"ConnectError", nil, new(*lmipool.AcquireError), func(w world) error {
		db, proxy := w.proxied(lmipool.Config{})
		must(proxy.Refuse(true))
		return db.Ping(w.soon())
	}},
	"no such database": {"MisconfiguredError", nil, new(*lmipool.AcquireError), func(w world) error {
		return w.openAt(w.at(func(u *url.URL) { u.Path = "/nowhere" }), lmipool.Config{}).Ping(w.ctx)
	}},
	"an unknown setting": {"MisconfiguredError", nil, nil, func(w world) error {
		_, err := lmipool.Open(w.ctx, w.dsn, &lmipool.Config{MaxConns: -1})
		return err
	}},
	"BeforeConnect fails": {"HookError", nil, new(*lmipool.AcquireError), func(w world) error {
		return w.open(lmipool.Config{BeforeConnect: func(context.Context, *pgx.ConnConfig) error { return errors.New("no token") }}).Ping(w.ctx)
	}},
	"BeforeConnect panics": {"HookError", nil, new(*lmipool.AcquireError), func(w world) error {
		return w.open(lmipool.Config{BeforeConnect: func(context.Context, *pgx.ConnConfig) error { panic("no token") }}).Ping(w.ctx)
	}},
	"no connection passes its checks": {"NoFitConnectionError", nil, new(*lmipool.AcquireError), func(w world) error {
		return w.open(lmipool.Config{MaxConns: 2, PrepareConn: func(context.Context, *pgx.Conn) (bool, error) { return false, nil }}).Ping(w.ctx)
	}},
	"the pool is closed": {"PoolClosedError", lmipool.ErrClosed, nil, func(w world) error {
		db := w.open(lmipool.Config{})
		db.Close()
		return db.Ping(w.ctx)
	}},
	"the invocation has ended": {"InvocationEndedError", lmipool.ErrInvocationEnded, nil, func(w world) error {
		db := w.open(lmipool.Config{})
		var kept context.Context
		_, err := lmipool.Handler(db, func(ctx context.Context, _ int) (int, error) { kept = ctx; return 0, nil })(context.Background(), 0)
		must(err)
		return db.Ping(kept)
	}},
	"the lease was released": {"LeaseReleasedError", nil, nil, func(w world) error {
		l, err := w.open(lmipool.Config{}).Acquire(w.ctx)
		must(err)
		l.Release()
		return l.Ping(w.ctx)
	}},
	"two goroutines use a lease": {"LeaseBusyError", nil, nil, func(w world) error {
		l, err := w.open(lmipool.Config{}).Acquire(w.ctx)
		must(err)
		defer l.Release()
		errs := make(chan error, 2)
		for range 2 {
			go func() { _, err := l.Exec(w.ctx, "select pg_sleep(0.5)"); errs <- err }()
		}
		return errors.Join(<-errs, <-errs).(interface{ Unwrap() []error }).Unwrap()[0]
	}},
	"a statement whose ctx ends": {"CanceledError", context.Canceled, nil, func(w world) error {
		ctx, cancel := context.WithCancel(w.ctx)
		db := w.open(lmipool.Config{CancelWait: 10 * time.Second})
		return w.while(func(sql string) error { _, err := db.Exec(ctx, sql); return err }, cancel)
	}},
	"a statement whose ctx has ended": {"NotSentError", context.Canceled, nil, func(w world) error {
		l, err := w.open(lmipool.Config{}).Acquire(w.ctx)
		must(err)
		defer l.Release()
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		_, err = l.Exec(ctx, "select 1")
		return err
	}},
	"a commit whose ctx has ended": {"NotSentError", context.Canceled, nil, func(w world) error {
		ctx, cancel := context.WithCancel(w.ctx)
		return lmipool.InTx(ctx, w.open(lmipool.Config{}), lmipool.TxOptions{}, func(context.Context, pgx.Tx) error { cancel(); return nil })
	}},
	"the answer to a write is lost": {"OutcomeUnknownError", nil, nil, func(w world) error {
		db, proxy := w.proxied(lmipool.Config{})
		return w.while(func(sql string) error { _, err := db.Exec(lmipool.Alone(w.ctx), sql); return err }, proxy.Cut)
	}},
	"the server ends the session in a write": {"OutcomeUnknownError", nil, nil, func(w world) error {
		_, err := w.open(lmipool.Config{}).Exec(w.ctx, "select pg_terminate_backend(pg_backend_pid())")
		return err
	}},
	"the connection of a cancelled statement is given up": {"OutcomeUnknownError", nil, nil, func(w world) error {
		ctx, cancel := context.WithCancel(w.ctx)
		db := w.open(lmipool.Config{CancelWait: -1})
		err := w.while(func(sql string) error { _, err := db.Exec(ctx, sql); return err }, cancel)
		if err != nil && !strings.HasPrefix(err.Error(), "lmipool: no answer came, so it may have happened: ") {
			return errors.New(err.Error())
		}
		return err
	}},
	"a transaction's connection is lost": {"RolledBackError", nil, nil, func(w world) error {
		db, proxy := w.proxied(lmipool.Config{})
		return w.while(func(sql string) error {
			return lmipool.InTx(w.ctx, db, lmipool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, sql)
				return err
			})
		}, proxy.Cut)
	}},
	"a transaction has no try left": {"TxRetriesError", nil, nil, func(w world) error {
		return lmipool.InTx(w.ctx, w.open(lmipool.Config{}), lmipool.TxOptions{MaxRetries: 1}, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "do $$ begin raise exception using errcode = '40001'; end $$")
			return err
		})
	}},
	"TxOptions that cannot be": {"TxOptionsError", nil, nil, func(w world) error {
		return lmipool.InTx(w.ctx, w.open(lmipool.Config{}), lmipool.TxOptions{MaxRetries: -1}, func(context.Context, pgx.Tx) error { return nil })
	}},
	"With in exec mode": {"ExecModeError", nil, nil, func(w world) error {
		dsn := w.at(func(u *url.URL) { u.RawQuery += "&default_query_exec_mode=exec" })
		return w.openAt(dsn, lmipool.Config{}).With(map[string]string{"app.tenant": "a"}).Ping(w.ctx)
	}},
	"a statement of With in simple mode": {"ExecModeError", nil, nil, func(w world) error {
		_, err := w.open(lmipool.Config{}).With(map[string]string{"app.tenant": "a"}).Exec(w.ctx, "select 1", pgx.QueryExecModeSimpleProtocol)
		return err
	}},
	"With of no setting": {"SettingsError", nil, nil, func(w world) error {
		return w.open(lmipool.Config{}).With(nil).Ping(w.ctx)
	}},
	"With of what the server refuses": {"SettingsError", nil, nil, func(w world) error {
		_, err := w.open(lmipool.Config{}).With(map[string]string{"statement_timeout": "soon"}).Exec(w.ctx, "select 1")
		return err
	}},
	"a batch of With that has DDL": {"BatchError", nil, nil, func(w world) error {
		b := &pgx.Batch{}
		b.Queue("create table u ()")
		return w.open(lmipool.Config{}).With(map[string]string{"app.tenant": "a"}).SendBatch(w.ctx, b).Close()
	}},
	"a batch that is nil": {"NilArgumentError", nil, nil, func(w world) error {
		return w.open(lmipool.Config{}).SendBatch(w.ctx, nil).Close()
	}},
	"a pool that is nil": {"NilArgumentError", nil, nil, func(w world) error {
		return lmipool.InTx(w.ctx, (*lmipool.Pool)(nil), lmipool.TxOptions{}, nil)
	}},
	"Shutdown does not wait for ever": {"ShutdownError", nil, new(*lmipool.ShutdownError), func(w world) error {
		db := w.open(lmipool.Config{})
		l, err := db.Acquire(w.ctx)
		must(err)
		defer l.Release()
		return db.Shutdown(w.soon())
	}},
	"the invocation comes when its deadline is over": {"DeadlinePassedError", context.DeadlineExceeded, new(*lmipool.DeadlinePassedError), func(w world) error {
		ctx, cancel := context.WithTimeout(context.Background(), -time.Second)
		defer cancel()
		_, err := lmipool.Handler(w.open(lmipool.Config{}), neverBegun)(ctx, 0)
		return err
	}},
	"the process is about to end": {"RefusedError", nil, new(lmipool.RefusedError), func(w world) error {
		db := w.open(lmipool.Config{})
		lmipool.Terminate(db)
		_, err := lmipool.Handler(db, neverBegun)(context.Background(), 0)
		return err
	}},
	"a handler that ends its goroutine": {"GoexitError", nil, new(*lmipool.GoexitError), func(w world) error {
		_, err := lmipool.Handler(w.open(lmipool.Config{}), func(context.Context, int) (int, error) { runtime.Goexit(); return 0, nil })(context.Background(), 0)
		return err
	}},
	"a handler that Wrap cannot take": {"HandlerError", nil, nil, func(w world) error {
		_, err := lmipool.Wrap(w.open(lmipool.Config{}), func() (any, error) { return strings.NewReader("x"), nil })(context.Background(), nil)
		return err
	}},
	"the server says no": {"PgError", nil, nil, func(w world) error {
		_, err := w.open(lmipool.Config{}).Exec(w.ctx, "select nothing")
		return err
	}},
}

// startSituations is a handler that returns the error of the situation that it is asked for.
func startSituations(db *lmipool.Pool) {
	lambda.Start(lmipool.Handler(db, func(ctx context.Context, e event) (string, error) {
		s := situations[e.Do]
		err := s.happens(world{context.WithoutCancel(ctx), os.Getenv("DATABASE_URL")})
		if err == nil || s.is != nil && !errors.Is(err, s.is) || s.as != nil && !errors.As(err, s.as) {
			return "", errors.New("not as it is to be: " + err.Error())
		}
		return "", err
	}))
}

func TestLambdaShowsWhatHappened(t *testing.T) {
	t.Parallel()
	full := fullRole(t)
	f, _ := functionWith(t, lmitest.Config{Timeout: time.Minute, Env: []string{"CHILD=situations", "FULL_ROLE=" + full}})
	var all errgroup.Group
	all.SetLimit(8)
	for name, s := range situations {
		all.Go(func() error {
			reply, _ := ask[string](boundedBy(t, time.Minute), t, f, event{Do: name})
			if assert.NotNil(t, reply.Error, name) {
				assert.Equal(t, s.errorType, reply.Error.Type, "%s: %s", name, reply.Error.Message)
			}
			return nil
		})
	}
	_ = all.Wait()
}

// fullRole is a role of which the server takes no connection.
func fullRole(t *testing.T) string {
	t.Helper()
	role := "full_" + strings.ToLower(rand.Text())
	db, err := pgx.Connect(t.Context(), pgtest.Database(t))
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), "create role "+role+" login connection limit 0")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec(context.Background(), "drop role "+role)
		assert.NoError(t, err)
		assert.NoError(t, db.Close(context.Background()))
	})
	return role
}
