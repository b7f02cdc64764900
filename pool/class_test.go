package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/tlstest"
	"github.com/lmipool/lmipool/pool"
)

const (
	misconfigured = "misconfigured"
	retryable     = "retryable"
	unknown       = "outcome unknown"
	giveUp        = "give up"
)

// classes are all that err says is to be done about it.
func classes(err error) (all []string) {
	for _, class := range []struct {
		name string
		is   func(error) bool
	}{{misconfigured, pool.Misconfigured}, {retryable, pool.Retryable}, {unknown, pool.OutcomeUnknown}} {
		if class.is(err) {
			all = append(all, class.name)
		}
	}
	if len(all) == 0 {
		return []string{giveUp}
	}
	return all
}

// next is what is to be done about err, which must be one thing.
func next(t testing.TB, err error) string {
	t.Helper()
	all := classes(err)
	require.Len(t, all, 1, "%v", err)
	return all[0]
}

// quick is a ctx that ends soon, in which a server answers all the same.
func quick(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// with is dsn with other parts.
func dsnWith(t testing.TB, dsn string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	change(u)
	return u.String()
}

// What becomes of a pool whose connections are refused, for what reason ever.
func TestARefusedLoginIsForSomebodyToMend(t *testing.T) {
	t.Parallel()
	hba := "host all postgres all trust\nhost all app all scram-sha-256\n"
	server, err := pgtest.Start(bounded(t), pgtest.Options{Settings: map[string]string{"hba_file": tlstest.File(t, []byte(hba))}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	i := newInspector(t, server.ConnString())
	i.exec("create role app login password 'right'")
	i.exec("create database closed allow_connections false")
	i.exec("create database theirs")
	i.exec("revoke connect on database theirs from public")
	dsn := server.ConnString()
	at := func(change func(*url.URL)) string { return dsnWith(t, dsn, change) }
	query := func(key, value string) func(*url.URL) {
		return func(u *url.URL) { q := u.Query(); q.Set(key, value); u.RawQuery = q.Encode() }
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })
	broken := func(_ context.Context, network, _ string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	}

	for name, c := range map[string]struct {
		dsn    string
		config pool.Config
		want   string
		says   string
	}{
		"wrong password":   {dsn: at(func(u *url.URL) { u.User = url.UserPassword("app", "wrong") }), want: misconfigured, says: "28P01"},
		"no password":      {dsn: at(func(u *url.URL) { u.User = url.User("app") }), want: misconfigured, says: "28P01"},
		"no entry":         {dsn: at(func(u *url.URL) { u.User = url.User("stranger") }), want: misconfigured, says: "28000"},
		"no such database": {dsn: at(func(u *url.URL) { u.Path = "/none" }), want: misconfigured, says: "3D000"},
		"closed database":  {dsn: at(func(u *url.URL) { u.Path = "/closed" }), want: misconfigured, says: "55000"},
		"no right to connect": {
			dsn: at(func(u *url.URL) { u.User, u.Path = url.UserPassword("app", "right"), "/theirs" }), want: misconfigured, says: "42501",
		},
		"unknown setting":     {dsn: at(query("no_such", "1")), want: misconfigured, says: "42704"},
		"wrong setting":       {dsn: at(query("TimeZone", "Nowhere/At_all")), want: misconfigured, says: "22023"},
		"TLS to plain server": {dsn: at(query("sslmode", "verify-full")), want: misconfigured, says: "refused TLS"},
		"no SCRAM": {dsn: at(func(u *url.URL) {
			query("require_auth", "scram-sha-256")(u)
			query("sslmode", "disable")(u)
		}), want: misconfigured, says: "require_auth"},
		"unknown host": {dsn: at(func(u *url.URL) { u.Host = "no-such-host.invalid" }), want: misconfigured, says: "no such host", config: pool.Config{
			BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error {
				cc.LookupFunc = func(_ context.Context, host string) ([]string, error) {
					return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
				}
				return nil
			},
		}},
		"name server away": {dsn: at(func(u *url.URL) { u.Host = "no-such-host.invalid" }), want: retryable, says: "server misbehaving", config: pool.Config{
			BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error {
				cc.LookupFunc = func(_ context.Context, host string) ([]string, error) {
					return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
				}
				return nil
			},
		}},
		"refused port": {dsn: at(func(u *url.URL) { u.Host = gone.Addr().String() }), want: retryable, says: "connection refused"},
		"silent server": {
			dsn: at(func(u *url.URL) { u.Host = silent.Addr().String() }), want: retryable, says: "deadline exceeded",
			config: pool.Config{ConnectTimeout: 100 * time.Millisecond},
		},
		"unreachable": {dsn: dsn, want: retryable, says: "no route to host", config: pool.Config{
			BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error { cc.DialFunc = broken; return nil },
		}},
		"standby wanted": {dsn: at(query("target_session_attrs", "standby")), want: retryable, says: "not in hot standby"},
		"one host is away, the other knows the password is wrong": {
			dsn: at(func(u *url.URL) { u.User, u.Host = url.UserPassword("app", "wrong"), gone.Addr().String()+","+u.Host }), want: misconfigured, says: "28P01",
		},
		"one host does not let us in, the other is away": {
			dsn: at(func(u *url.URL) { u.User, u.Host = url.User("stranger"), u.Host+","+gone.Addr().String() }), want: retryable, says: "28000",
		},
		"a hook's own error": {dsn: dsn, want: giveUp, says: "mine", config: pool.Config{
			BeforeConnect: func(context.Context, *pgx.ConnConfig) error { return errors.New("mine") },
		}},
		"a hook that knows": {dsn: dsn, want: misconfigured, says: "no secret of that name", config: pool.Config{
			BeforeConnect: func(context.Context, *pgx.ConnConfig) error { return fmt.Errorf("mine: %w", mend{}) },
		}},
		"a hook's statement": {dsn: dsn, want: giveUp, says: "42P01", config: pool.Config{
			AfterConnect: func(ctx context.Context, c *pgx.Conn) error { _, err := c.Exec(ctx, "table nowhere"); return err },
		}},
		"a hook without time": {dsn: dsn, want: retryable, says: "deadline exceeded", config: pool.Config{
			ConnectTimeout: 50 * time.Millisecond,
			BeforeConnect:  func(ctx context.Context, _ *pgx.ConnConfig) error { <-ctx.Done(); return ctx.Err() },
		}},
		"a hook that panics": {dsn: dsn, want: giveUp, says: "panicked", config: pool.Config{
			BeforeConnect: func(context.Context, *pgx.ConnConfig) error { panic(context.DeadlineExceeded) },
		}},
		"no connection passes": {dsn: dsn, want: retryable, says: "passed its checks", config: pool.Config{
			PrepareConn: func(context.Context, *pgx.Conn) (bool, error) { return false, nil }, MaxConns: 1,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.config.Logger = (&logs{}).logger()
			p, err := pool.New(t.Context(), c.dsn, &c.config)
			if strings.Contains(c.dsn, "require_auth") && err != nil { // of an old pgx, by New
				require.True(t, pool.Misconfigured(err))
				return
			}
			require.NoError(t, err)
			defer p.Close()
			_, err = p.Exec(bounded(t), "select 1")
			require.ErrorContains(t, err, c.says)
			assert.Equal(t, c.want, next(t, err), "%v", err)
			var acquire *pool.AcquireError
			assert.ErrorAs(t, err, &acquire)

			// With Plain it is pgxpool's error, and means the same, but for what only the pool knows.
			c.config.Plain = pool.On
			p, err = pool.New(t.Context(), c.dsn, &c.config)
			require.NoError(t, err)
			defer p.Close()
			_, err = p.Exec(bounded(t), "select 1")
			if !strings.HasPrefix(name, "a hook") && name != "no connection passes" && assert.Error(t, err) {
				assert.Equal(t, c.want, next(t, err), "%v", err)
			}
		})
	}
}

// mend says of itself that somebody has to do something.
type mend struct{}

func (mend) Error() string       { return "no secret of that name" }
func (mend) Misconfigured() bool { return true }

func TestAWrongConfigIsForSomebodyToMend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dsn    string
		config *pool.Config
	}{
		{"postgres://u@h:port/db", nil},
		{"host=h sslmode=maybe", nil},
		{"host=h pool_max_conns=0", nil},
		{"host=h", &pool.Config{MaxConns: -1}},
		{"host=h", &pool.Config{RootCAs: []byte("no PEM")}},
	} {
		_, err := pool.New(t.Context(), c.dsn, c.config)
		require.Error(t, err)
		assert.Equal(t, misconfigured, next(t, fmt.Errorf("wrapped: %w", err)), "%v", err)
	}
}

func TestWhatToDoAboutAStatementsError(t *testing.T) {
	t.Parallel()
	dsn, see := accounts(t)
	role := "teller_" + see.database()
	see.exec("create table secret (id int); create table tenants (name text); create table t (id int);" +
		"alter table tenants enable row level security; create policy own on tenants using (true) with check (name = 'mine');" +
		"create role " + role + "; grant all on tenants to " + role)
	t.Cleanup(func() { see.exec("drop owned by " + role + "; drop role " + role) })
	config := func() *pool.Config {
		return &pool.Config{MaxConns: 8, CancelWait: 5 * time.Second, Logger: (&logs{}).logger()}
	}
	p := newPoolAt(t, withParam(dsn, "deadlock_timeout", "20ms"), config())
	exec := func(sql string, args ...any) func(*testing.T) error {
		return func(t *testing.T) error { _, err := p.Exec(bounded(t), sql, args...); return err }
	}
	with := func(name, value, sql string) func(*testing.T) error {
		return func(t *testing.T) error {
			_, err := p.With(map[string]string{name: value}).Exec(bounded(t), sql)
			return err
		}
	}
	for name, c := range map[string]struct {
		err  func(*testing.T) error
		want string
		says string
	}{
		"syntax":                 {exec("selec 1"), giveUp, "42601"},
		"no such table":          {exec("table nowhere"), giveUp, "42P01"},
		"duplicate":              {exec("insert into account select * from account"), giveUp, "23505"},
		"wrong argument":         {exec("select $1::int", "no number"), giveUp, "invalid input syntax"},
		"not to be encoded":      {exec("select $1::int", struct{}{}), giveUp, "encode"},
		"no rows":                {func(t *testing.T) error { return p.QueryRow(bounded(t), "select 1 where false").Scan(new(int)) }, giveUp, "no rows"},
		"read only":              {with("transaction_read_only", "on", "update account set n = 0"), giveUp, "25006"},
		"statement_timeout":      {with("statement_timeout", "20ms", "select pg_sleep(10)"), giveUp, "57014"},
		"no privilege":           {with("role", role, "select * from secret"), misconfigured, "42501"},
		"another tenant's row":   {with("role", role, "insert into tenants values ('yours')"), giveUp, "42501"},
		"settings that are none": {with("no name", "x", "select 1"), giveUp, "no name of a setting"},
		"a lock not to be had": {func(t *testing.T) error {
			return pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "select * from account where id = 1 for update"); err != nil {
					return err
				}
				_, err := p.Exec(bounded(t), "select * from account where id = 1 for update nowait")
				return err
			})
		}, retryable, "55P03"},
		"a deadlock": {func(t *testing.T) error {
			const lock = "select pg_advisory_xact_lock($1)"
			var met sync.WaitGroup
			met.Add(2)
			errs := make(chan error, 2)
			for _, order := range [][2]int{{1, 2}, {2, 1}} {
				go func() {
					errs <- pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
						if _, err := tx.Exec(ctx, lock, order[0]); err != nil {
							return err
						}
						met.Done()
						met.Wait()
						_, err := tx.Exec(ctx, lock, order[1])
						return err
					})
				}()
			}
			return errors.Join(<-errs, <-errs) // one of them is nil
		}, retryable, "40P01"},
		"a race that COMMIT tells": {func(t *testing.T) error {
			serializable := pool.TxOptions{TxOptions: pgx.TxOptions{IsoLevel: pgx.Serializable}}
			skew := func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "insert into t select count(*) from t")
				return err
			}
			return pool.InTx(bounded(t), p, serializable, func(ctx context.Context, tx pgx.Tx) error {
				if err := skew(ctx, tx); err != nil {
					return err
				}
				return pool.InTx(bounded(t), p, serializable, skew)
			})
		}, retryable, "40001"},
		"a stale plan in a transaction": {func(t *testing.T) error {
			l, err := p.Acquire(bounded(t))
			require.NoError(t, err)
			defer l.Release()
			see.exec("create table altered (id int)")
			for range 2 {
				_, err = l.Exec(bounded(t), "select * from altered where id = $1", 1)
				require.NoError(t, err)
			}
			see.exec("alter table altered add more int")
			return pool.InTx(bounded(t), l, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "select * from altered where id = $1", 1)
				return err
			})
		}, retryable, "0A000"},
		"a failed transaction's commit": {func(t *testing.T) error {
			return pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "selec 1")
				assert.Error(t, err)
				return nil
			})
		}, giveUp, "rollback"},
		"out of time in flight, and stopped": {func(t *testing.T) error {
			err := inTime(t, 500*time.Millisecond, wasSent, func(ctx context.Context) error { return second(p.Exec(ctx, "select pg_sleep(30)")) })
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return err
		}, retryable, "57014"},
		"out of time in flight, and not heard of again": {func(t *testing.T) error {
			c := config()
			c.CancelWait = -1
			p := newPoolAt(t, dsn, c)
			err := inTime(t, 500*time.Millisecond, wasSent, func(ctx context.Context) error { return second(p.Exec(ctx, "select pg_sleep(30)")) })
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return err
		}, unknown, "deadline"},
		"out of time in the queue": {func(t *testing.T) error {
			c := config()
			c.MaxConns = 1
			p := newPoolAt(t, dsn, c)
			l, err := p.Acquire(bounded(t))
			require.NoError(t, err)
			defer l.Release()
			_, err = p.Exec(quick(t), "select 1")
			return err
		}, retryable, "waited"},
		"out of time before it began": {func(t *testing.T) error {
			ctx, cancel := context.WithCancel(bounded(t))
			cancel()
			_, err := p.Exec(ctx, "select 1")
			return err
		}, retryable, "canceled"},
		"out of time before COMMIT": {func(t *testing.T) error {
			ctx, cancel := context.WithCancel(bounded(t))
			tx, err := p.Begin(ctx)
			require.NoError(t, err)
			cancel()
			return tx.Commit(ctx)
		}, retryable, "commit was not sent"},
		"out of time in a transaction": {func(t *testing.T) error {
			ctx, cancel := context.WithCancel(bounded(t))
			return pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "select 1")
				cancel()
				return err
			})
		}, retryable, "canceled"},
		"its process is ended": {func(t *testing.T) error {
			l, err := p.Acquire(bounded(t))
			require.NoError(t, err)
			defer l.Release()
			_, err = l.Exec(bounded(t), "select pg_terminate_backend(pg_backend_pid()), pg_sleep(10)")
			return err
		}, unknown, "57P01"},
		"its connection is lost": {func(t *testing.T) error {
			proxy := newProxy(t, dsn)
			c := config()
			c.BeforeConnect = through(proxy)
			p := newPoolAt(t, dsn, c)
			require.NoError(t, p.Ping(bounded(t)))
			time.AfterFunc(100*time.Millisecond, proxy.Cut)
			_, err := p.Exec(bounded(t), "select pg_sleep(10)")
			return err
		}, unknown, ""},
		"COMMIT is lost": {func(t *testing.T) error {
			proxy := newProxy(t, dsn)
			c := config()
			c.BeforeConnect = through(proxy)
			return pool.InTx(bounded(t), newPoolAt(t, dsn, c), pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "insert into t values (1)")
				proxy.Cut()
				return err
			})
		}, unknown, ""},
		"a transaction is lost": {func(t *testing.T) error {
			proxy := newProxy(t, dsn)
			c := config()
			c.BeforeConnect = through(proxy)
			return pool.InTx(bounded(t), newPoolAt(t, dsn, c), pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "insert into t values (1)"); err != nil {
					return err
				}
				proxy.Cut()
				_, err := tx.Exec(ctx, "insert into t values (1)")
				return err
			})
		}, retryable, ""},
		"the server is full": {func(t *testing.T) error {
			dsn, _ := limitedRole(t, 1)
			occupy(t, dsn)
			p := newPoolAt(t, dsn, config())
			err := inTime(t, 500*time.Millisecond, is(pool.ErrServerFull), func(ctx context.Context) error { return second(p.Exec(ctx, "select 1")) })
			require.ErrorIs(t, err, pool.ErrServerFull)
			return err
		}, retryable, "53300"},
		"the pool is closed": {func(t *testing.T) error {
			p := newPoolAt(t, dsn, config())
			p.Close()
			_, err := p.Exec(bounded(t), "select 1")
			return err
		}, giveUp, "closed"},
		"Shutdown did not get everything back": {func(t *testing.T) error {
			p := newPoolAt(t, dsn, config())
			_, err := p.Acquire(bounded(t))
			require.NoError(t, err)
			return p.Shutdown(quick(t))
		}, giveUp, "still out"},
		"the invocation has ended": {func(t *testing.T) error {
			ctx, scope := p.OpenScope(bounded(t), "", time.Time{})
			scope.End()
			_, err := p.Exec(ctx, "select 1")
			return err
		}, giveUp, "ended"},
		"the invocation has ended in the middle": {func(t *testing.T) error {
			ctx, scope := p.OpenScope(bounded(t), "", time.Time{})
			r, err := p.Query(context.WithoutCancel(ctx), "insert into t select generate_series(1, 3) returning id")
			require.NoError(t, err)
			scope.End()
			r.Close()
			return r.Err()
		}, unknown, "ended"},
		"nobody can be served": {func(t *testing.T) error {
			c := config()
			c.MaxConns = 1
			p := newPoolAt(t, dsn, c)
			return pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				_, err := p.Exec(ctx, "select 1")
				return err
			})
		}, giveUp, "nested"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.err(t)
			require.Error(t, err)
			require.ErrorContains(t, err, c.says)
			assert.Equal(t, c.want, next(t, err), "%v", err)
			assert.Equal(t, c.want, next(t, fmt.Errorf("order 7: %w", err)))
			assert.Equal(t, c.want, next(t, errors.Join(errors.New("the caller's own"), err)))
		})
	}
}

// A server that shuts down waits for those it has, and takes nobody else.
func TestAServerThatShutsDownIsAway(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(bounded(t), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	occupy(t, server.ConnString())
	require.NoError(t, syscall.Kill(server.Pid(), syscall.SIGTERM))
	for _, sslmode := range []string{"disable", "prefer"} { // which is refused TLS first
		p := newPoolAt(t, strings.Replace(server.ConnString(), "disable", sslmode, 1), &pool.Config{Plain: on(sslmode == "disable"), Logger: (&logs{}).logger()})
		eventually(t, "it has begun to", func() bool {
			_, err = p.Exec(bounded(t), "select 1")
			return err != nil
		})
		require.ErrorContains(t, err, "57P03")
		assert.Equal(t, retryable, next(t, err))
	}
}

// What PgBouncer refuses it refuses with one code.
func TestWhatPgBouncerRefuses(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	through := bouncer(t, dsn, "query_wait_timeout = 1", "server_login_retry = 1")
	for _, c := range []struct {
		change func(*url.URL)
		want   string
		says   string
	}{
		{func(u *url.URL) { u.RawQuery += "&statement_timeout=1" }, misconfigured, "unsupported startup parameter"},
		{func(u *url.URL) { u.Path = "/none" }, misconfigured, "does not exist"},
	} {
		p := newPoolAt(t, dsnWith(t, through, c.change), &pool.Config{Upstream: pool.UpstreamPgBouncer, Logger: (&logs{}).logger()})
		_, err := p.Exec(bounded(t), "select 1")
		require.ErrorContains(t, err, c.says)
		assert.Equal(t, c.want, next(t, err), "%v", err)
	}
}

// What package pgerr's own table has is not here.
func TestClassesOfThePoolsOwnErrors(t *testing.T) {
	t.Parallel()
	says := func(severity, code string) error {
		return &pgconn.PgError{Severity: severity, SeverityUnlocalized: severity, Code: code}
	}
	for want, errs := range map[string][]error{
		giveUp: {
			pgx.ErrNoRows, pgx.ErrTxClosed, errors.New("the caller's own"), says("ERROR", "42P01"), pool.ErrClosed, pool.ErrInvocationEnded, pool.ErrNestedAcquire,
			&pool.NestedAcquireError{}, &pool.ShutdownError{Err: context.DeadlineExceeded}, &pool.AcquireError{Err: pool.ErrNestedAcquire},
			&pool.AcquireError{Err: &pool.NestedAcquireError{}}, &pool.AcquireError{Err: pool.ErrClosed}, errors.Join(says("ERROR", "40001"), &pool.ShutdownError{}),
		},
		misconfigured: {mend{}, fmt.Errorf("%w", mend{}), &pool.AcquireError{Err: mend{}}, errors.Join(says("ERROR", "40001"), mend{}), &pool.AcquireError{Err: says("ERROR", "42P05")}},
		retryable: {
			says("ERROR", "40001"), pool.ErrServerFull, pool.ErrServerAway, fmt.Errorf("%w: %w", pool.ErrServerFull, says("ERROR", "25006")),
			&pool.AcquireError{Err: context.DeadlineExceeded}, &pool.AcquireError{Err: io.EOF}, &pool.AcquireError{Err: says("FATAL", "57P01")},
		},
		unknown: {context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, says("FATAL", "57P01"), errors.Join(pool.ErrServerFull, io.EOF)},
	} {
		for _, err := range errs {
			assert.Equal(t, want, next(t, err), "%v", err)
			assert.Equal(t, want, next(t, fmt.Errorf("order 7: %w", err)), "%v", err)
		}
	}
}
