package pool_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// predicates are what programs ask of pgx's errors.
func predicates(err error) (all []string) {
	add := func(name string, is bool) {
		if is {
			all = append(all, name)
		}
	}
	add("pgconn.Timeout", pgconn.Timeout(err))
	add("pgconn.SafeToRetry", pgconn.SafeToRetry(err))
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		add("PgError "+pg.Code, true)
	}
	var state interface{ SQLState() string }
	add("SQLState()", errors.As(err, &state))
	add("ConnectError", errors.As(err, new(*pgconn.ConnectError)))
	add("ParseConfigError", errors.As(err, new(*pgconn.ParseConfigError)))
	add("PrepareError", errors.As(err, new(*pgconn.PrepareError)))
	add("NotPreferredError", errors.As(err, new(*pgconn.NotPreferredError)))
	add("ScanArgError", errors.As(err, new(pgx.ScanArgError)))
	add("net.OpError", errors.As(err, new(*net.OpError)))
	add("net.DNSError", errors.As(err, new(*net.DNSError)))
	var ne net.Error
	if errors.As(err, &ne) {
		add("net.Error", true)
		add("net.Error Timeout()", ne.Timeout())
	}
	for name, target := range map[string]error{
		"Canceled": context.Canceled, "DeadlineExceeded": context.DeadlineExceeded, "os.ErrDeadlineExceeded": os.ErrDeadlineExceeded, "net.ErrClosed": net.ErrClosed,
		"EOF": io.EOF, "UnexpectedEOF": io.ErrUnexpectedEOF, "ECONNREFUSED": syscall.ECONNREFUSED, "ECONNRESET": syscall.ECONNRESET, "EPIPE": syscall.EPIPE,
		"ErrConnClosed": pgconn.ErrConnClosed, "ErrReadOnlyConnection": pgconn.ErrReadOnlyConnection, "ErrPrimaryConnection": pgconn.ErrPrimaryConnection,
		"ErrNoRows": pgx.ErrNoRows, "sql.ErrNoRows": sql.ErrNoRows, "ErrTooManyRows": pgx.ErrTooManyRows, "ErrTxClosed": pgx.ErrTxClosed, "ErrTxCommitRollback": pgx.ErrTxCommitRollback,
	} {
		add(name, errors.Is(err, target))
	}
	slices.Sort(all)
	return all
}

// both is what pgxpool's pool and ours have in common, and an Acquire of either.
type both interface {
	statements
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Begin(ctx context.Context) (pgx.Tx, error)
}

type statements interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// acquired is a connection of the caller's own.
type acquired interface {
	both
	Ping(ctx context.Context) error
	Release()
}

func acquire(t testing.TB, db both) acquired {
	t.Helper()
	switch db := db.(type) {
	case *pgxpool.Pool:
		c, err := db.Acquire(bounded(t))
		require.NoError(t, err)
		return c
	case *pool.Pool:
		l, err := db.Acquire(bounded(t))
		require.NoError(t, err)
		return l
	}
	t.Fatalf("%T", db)
	return nil
}

// allCalls are all kinds of call that run sql, which takes no arguments and returns a row.
var allCalls = map[string]func(ctx context.Context, db both, sql string) error{
	"Exec": func(ctx context.Context, db both, sql string) error { _, err := db.Exec(ctx, sql); return err },
	"Query": func(ctx context.Context, db both, sql string) error {
		r, err := db.Query(ctx, sql)
		return readAll(r, err)
	},
	"Query of a long result": func(ctx context.Context, db both, sql string) error {
		r, err := db.Query(ctx, "select repeat('x', 10000) from generate_series(1, 5) union all select ("+sql+")::text")
		return readAll(r, err)
	},
	"QueryRow": func(ctx context.Context, db both, sql string) error { return db.QueryRow(ctx, sql).Scan(nil) },
	"QueryRow with an argument": func(ctx context.Context, db both, sql string) error {
		return db.QueryRow(ctx, "select ("+sql+"), $1::int", 1).Scan(nil, nil)
	},
	"simple": func(ctx context.Context, db both, sql string) error {
		r, err := db.Query(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		return readAll(r, err)
	},
	"exec mode": func(ctx context.Context, db both, sql string) error {
		r, err := db.Query(ctx, sql, pgx.QueryExecModeExec)
		return readAll(r, err)
	},
	"SendBatch, Close": func(ctx context.Context, db both, sql string) error { return db.SendBatch(ctx, twoOf(sql)).Close() },
	"SendBatch, Exec": func(ctx context.Context, db both, sql string) error {
		r := db.SendBatch(ctx, twoOf(sql))
		defer r.Close()
		_, err := r.Exec()
		return err
	},
	"SendBatch, QueryRow": func(ctx context.Context, db both, sql string) error {
		r := db.SendBatch(ctx, twoOf(sql))
		defer r.Close()
		return r.QueryRow().Scan(nil)
	},
	"SendBatch, Query": func(ctx context.Context, db both, sql string) error {
		r := db.SendBatch(ctx, twoOf(sql))
		defer r.Close()
		rows, err := r.Query()
		return readAll(rows, err)
	},
	"CopyFrom": func(ctx context.Context, db both, sql string) error {
		_, err := db.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id"}, pgx.CopyFromFunc(func() ([]any, error) {
			if err := ctx.Err(); err != nil { // as a source does that knows its ctx
				return nil, err
			}
			time.Sleep(time.Millisecond)
			return []any{1}, nil
		}))
		return err
	},
	"Begin, Exec": func(ctx context.Context, db both, sql string) error {
		tx, err := db.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		_, err = tx.Exec(ctx, sql)
		return err
	},
	"Begin, QueryRow": func(ctx context.Context, db both, sql string) error {
		tx, err := db.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		return tx.QueryRow(ctx, sql).Scan(nil)
	},
	"Begin, SendBatch": func(ctx context.Context, db both, sql string) error {
		tx, err := db.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		return tx.SendBatch(ctx, twoOf(sql)).Close()
	},
	"a savepoint": func(ctx context.Context, db both, sql string) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return readAll(tx.Query(ctx, sql)) })
		})
	},
	"BeginFunc": func(ctx context.Context, db both, sql string) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, sql); return err })
	},
	"BeginFunc and InTx": func(ctx context.Context, db both, sql string) error {
		if p, ok := db.(pool.Beginner); ok && !isTheirs(db) {
			return pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, sql); return err })
		}
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, sql); return err })
	},
}

func isTheirs(db any) bool {
	switch db.(type) {
	case *pgxpool.Pool, *pgxpool.Conn:
		return true
	}
	return false
}

func twoOf(sql string) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(sql)
	b.Queue("select 1")
	return b
}

func readAll(r pgx.Rows, err error) error {
	if err != nil {
		return err
	}
	for r.Next() {
		if _, err := r.Values(); err != nil {
			return err
		}
	}
	return r.Err()
}

// butOf are what pgxpool's error of a call says by chance: a CopyFrom that was being written says that it is safe to
// retry, and more of the socket.
func butOf(call string) []string {
	if call == "CopyFrom" {
		return []string{"pgconn.SafeToRetry", "os.ErrDeadlineExceeded", "net.Error", "net.Error Timeout()", "net.OpError"}
	}
	return nil
}

// twoPools are pgxpool's and ours, at dsn, dialed through a proxy each.
func twoPools(t testing.TB, dsn string, conns int32) (theirs *pgxpool.Pool, ours *pool.Pool, proxies [2]*netfault.Proxy) {
	t.Helper()
	proxies = [2]*netfault.Proxy{newProxy(t, dsn), newProxy(t, dsn)}
	c, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	c.MaxConns, c.BeforeConnect = conns, through(proxies[0])
	theirs, err = pgxpool.NewWithConfig(context.Background(), c)
	require.NoError(t, err)
	t.Cleanup(theirs.Close)
	ours = newPoolAt(t, dsn, &pool.Config{MaxConns: conns, Logger: (&logs{}).logger(), BeforeConnect: through(proxies[1]), CancelWait: 2 * time.Second})
	return theirs, ours, proxies
}

// implies checks that what is true of pgxpool's error is true of ours.
func implies(t *testing.T, what string, theirs, ours error, but ...string) {
	t.Helper()
	if theirs == nil || !assert.Error(t, ours, "%s: pgxpool says %v", what, theirs) {
		return
	}
	has := predicates(ours)
	for _, p := range predicates(theirs) {
		if !slices.Contains(but, p) {
			assert.Contains(t, has, p, "%s\npgxpool: %v\nlmipool: %v", what, theirs, ours)
		}
	}
}

// What a program asks of pgxpool's error has the same answer with ours, whenever ctx ends.
func TestPredicatesOfAnEndedCtx(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec("create table copied (id int)")
	const after = 150 * time.Millisecond
	ends := map[string]func(time.Duration) (context.Context, context.CancelFunc){
		"deadline": func(after time.Duration) (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), after)
		},
		"cancel": func(after time.Duration) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(after, cancel)
			return ctx, cancel
		},
		"cancel with a cause": func(after time.Duration) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(context.Background())
			time.AfterFunc(after, func() { cancel(io.EOF) })
			return ctx, func() { cancel(nil) }
		},
		"deadline before": func(time.Duration) (context.Context, context.CancelFunc) {
			return context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
		},
		"cancel before": func(time.Duration) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx, cancel
		},
	}
	for end, ctxOf := range ends {
		t.Run(end, func(t *testing.T) {
			theirs, ours, _ := twoPools(t, dsn, int32(len(allCalls)))
			var warm []acquired
			for range allCalls { // so that none of ours waits for a connection where pgxpool has dialed one
				warm = append(warm, acquire(t, theirs), acquire(t, ours))
			}
			for _, c := range warm {
				c.Release()
			}
			type try func(after time.Duration) error
			sleeps := func(db both, call func(context.Context, both, string) error) try {
				return func(after time.Duration) error {
					ctx, cancel := ctxOf(after)
					defer cancel()
					return call(ctx, db, "select pg_sleep(30)")
				}
			}
			// A busy machine may need longer than after to send something. Then there is another try, with more time.
			sent := func(what string, theirs, ours try, but []string) {
				var a, b error
				for tries := range 4 {
					a, b = theirs(after<<tries), ours(after<<tries)
					if !pgconn.SafeToRetry(a) && wasSent(b) || len(but) > 0 {
						break
					}
				}
				implies(t, what, a, b, but...)
			}
			// While others have all there is.
			one, ourOne, _ := twoPools(t, dsn, 1)
			a, b := acquire(t, one), acquire(t, ourOne)
			var all sync.WaitGroup
			for name, call := range allCalls {
				all.Go(func() { sent(end+": "+name, sleeps(theirs, call), sleeps(ours, call), butOf(name)) })
				all.Go(func() { implies(t, end+", waiting: "+name, sleeps(one, call)(after), sleeps(ourOne, call)(after)) })
			}
			all.Wait()
			for name, call := range allCalls {
				on := func(db both) try {
					return func(after time.Duration) error {
						c := acquire(t, db)
						defer c.Release()
						return sleeps(c, call)(after)
					}
				}
				all.Go(func() { sent(end+", on a connection: "+name, on(theirs), on(ours), butOf(name)) })
			}
			all.Wait()
			a.Release()
			b.Release()
			// At the end of a transaction.
			commit := func(db both, end func(pgx.Tx, context.Context) error) error {
				tx, err := db.Begin(bounded(t))
				require.NoError(t, err)
				ctx, cancel := ctxOf(after)
				defer cancel()
				<-ctx.Done()
				return end(tx, ctx)
			}
			implies(t, end+": Commit", commit(theirs, pgx.Tx.Commit), commit(ours, pgx.Tx.Commit))
			for _, inTx := range []bool{false, true} {
				ctxA, cancelA := ctxOf(after)
				errA := pgx.BeginFunc(ctxA, theirs, func(pgx.Tx) error { <-ctxA.Done(); return nil })
				cancelA()
				ctxB, cancelB := ctxOf(after)
				var errB error
				if inTx {
					errB = pool.InTx(ctxB, ours, pool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error { <-ctx.Done(); return nil })
				} else {
					errB = pgx.BeginFunc(ctxB, ours, func(pgx.Tx) error { <-ctxB.Done(); return nil })
				}
				cancelB()
				implies(t, fmt.Sprintf("%s: before the COMMIT of BeginFunc, InTx %v", end, inTx), errA, errB)
			}
		})
	}
}

// The same when the connection is lost, or nobody answers.
func TestPredicatesOfALostConnection(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec("create table copied (id int)")
	var texts atomic.Int64
	for name, call := range allCalls {
		if name == "CopyFrom" {
			continue // its source ends with its ctx only
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			theirs, ours, proxies := twoPools(t, dsn, 2)
			// The text is this call's own, so that the server can be asked whether it runs.
			twice := func(db both, sql string, lose func()) (first, again error) {
				c := acquire(t, db)
				defer c.Release()
				done := make(chan struct{})
				var losing sync.WaitGroup
				if lose != nil {
					sql = fmt.Sprintf("select pg_sleep(30.%06d)", texts.Add(1))
					losing.Go(func() {
						for see.running("%"+sql+"%") == 0 {
							select {
							case <-done:
								return
							case <-time.After(time.Millisecond):
							}
						}
						lose()
					})
				}
				first, again = call(bounded(t), c, sql), call(bounded(t), c, "select 1")
				close(done)
				losing.Wait()
				return first, again
			}
			const dies = "select pg_terminate_backend(pg_backend_pid()) and pg_sleep(10)::text is null"
			a1, a2 := twice(theirs, dies, nil)
			b1, b2 := twice(ours, dies, nil)
			implies(t, "ended by the server", a1, b1)
			implies(t, "after that", a2, b2)
			for what, fault := range map[string]func(*netfault.Proxy){"cut": (*netfault.Proxy).Cut, "reset": (*netfault.Proxy).Reset} {
				a1, a2 := twice(theirs, "", func() { fault(proxies[0]) })
				b1, b2 := twice(ours, "", func() { fault(proxies[1]) })
				implies(t, what, a1, b1)
				implies(t, "after "+what, a2, b2)
			}
			if name != "Exec" && name != "BeginFunc and InTx" { // to close it takes pgxpool 15 s
				return
			}
			silent := func(db both, proxy *netfault.Proxy) error {
				c := acquire(t, db)
				proxy.Stall(true)
				ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
				err := call(ctx, c, "select 1")
				cancel()
				proxy.Stall(false)
				c.Release()
				return err
			}
			implies(t, "nobody answers", silent(theirs, proxies[0]), silent(ours, proxies[1]))
		})
	}
}

// The same of what the server says, and of rows and arguments.
func TestPredicatesOfWhatTheServerSays(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec("create table copied (id int primary key)")
	theirs, ours, _ := twoPools(t, dsn, 4)
	for _, sql := range []string{"selec 1", "table nowhere", "select 1/0", "select 'x'::int", "do $$ begin raise 'canceling statement due to statement timeout' using errcode = '57014'; end $$", "set transaction_read_only = on; create table x ()"} {
		for name, call := range allCalls {
			if name == "CopyFrom" { // its source ends with its ctx only
				continue
			}
			implies(t, sql+": "+name, call(bounded(t), theirs, sql), call(bounded(t), ours, sql))
		}
	}
	var n int
	for name, call := range map[string]func(ctx context.Context, db both) error{
		"no rows":      func(ctx context.Context, db both) error { return db.QueryRow(ctx, "select 1 where false").Scan(&n) },
		"to scan":      func(ctx context.Context, db both) error { return db.QueryRow(ctx, "select 'x'").Scan(&n) },
		"NULL to scan": func(ctx context.Context, db both) error { return db.QueryRow(ctx, "select null::int").Scan(&n) },
		"to scan of Rows": func(ctx context.Context, db both) error {
			r, err := db.Query(ctx, "select 'x'")
			if err != nil {
				return err
			}
			_, err = pgx.CollectExactlyOneRow(r, pgx.RowTo[int])
			return err
		},
		"too many": func(ctx context.Context, db both) error {
			r, err := db.Query(ctx, "select generate_series(1, 3)")
			if err != nil {
				return err
			}
			_, err = pgx.CollectExactlyOneRow(r, pgx.RowTo[int])
			return err
		},
		"to encode": func(ctx context.Context, db both) error {
			_, err := db.Exec(ctx, "select $1::int", struct{}{})
			return err
		},
		"to encode in a batch": func(ctx context.Context, db both) error {
			b := &pgx.Batch{}
			b.Queue("select $1::int", struct{}{})
			return db.SendBatch(ctx, b).Close()
		},
		"to copy": func(ctx context.Context, db both) error {
			_, err := db.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id"}, pgx.CopyFromRows([][]any{{"no number"}}))
			return err
		},
		"copied twice": func(ctx context.Context, db both) error {
			_, err := db.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id"}, pgx.CopyFromRows([][]any{{1}, {1}}))
			return err
		},
		"a source's error": func(ctx context.Context, db both) error {
			_, err := db.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id"}, pgx.CopyFromFunc(func() ([]any, error) { return nil, io.ErrUnexpectedEOF }))
			return err
		},
		"a failed transaction's commit": func(ctx context.Context, db both) error {
			return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error { _, _ = tx.Exec(ctx, "selec 1"); return nil })
		},
		"a transaction's second end": func(ctx context.Context, db both) error {
			tx, err := db.Begin(ctx)
			if err != nil {
				return err
			}
			return errors.Join(tx.Commit(ctx), tx.Rollback(ctx))
		},
		"a statement after the transaction": func(ctx context.Context, db both) error {
			tx, err := db.Begin(ctx)
			if err != nil {
				return err
			}
			_ = tx.Commit(ctx)
			_, err = tx.Exec(ctx, "select 1")
			return err
		},
		"to prepare": func(ctx context.Context, db both) error {
			tx, err := db.Begin(ctx)
			if err != nil {
				return err
			}
			defer tx.Rollback(ctx)
			_, err = tx.Prepare(ctx, "s", "selec 1")
			return err
		},
		"a deferred constraint at COMMIT": func(ctx context.Context, db both) error {
			return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "create temp table d (id int unique deferrable initially deferred) on commit drop; insert into d values (1), (1)")
				return err
			})
		},
	} {
		implies(t, name, call(bounded(t), theirs), call(bounded(t), ours))
	}
}

// The same of a connection that cannot be had, and of a connection string.
func TestPredicatesOfADial(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })
	at := func(change func(*url.URL)) string { return dsnWith(t, dsn, change) }
	for what, dsn := range map[string]string{
		"refused":        at(func(u *url.URL) { u.Host = gone.Addr().String() }),
		"silent":         at(func(u *url.URL) { u.Host = silent.Addr().String(); u.RawQuery += "&connect_timeout=1" }),
		"no database":    at(func(u *url.URL) { u.Path = "/none" }),
		"no host":        at(func(u *url.URL) { u.Host = "nowhere.invalid:5432" }),
		"no TLS":         at(func(u *url.URL) { u.RawQuery = "sslmode=require" }),
		"standby":        at(func(u *url.URL) { u.RawQuery += "&target_session_attrs=standby" }),
		"read-only":      at(func(u *url.URL) { u.RawQuery += "&target_session_attrs=read-write&default_transaction_read_only=on" }),
		"wrong setting":  at(func(u *url.URL) { u.RawQuery += "&TimeZone=Nowhere/At_all" }),
		"two hosts":      at(func(u *url.URL) { u.Host = gone.Addr().String() + "," + gone.Addr().String() }),
		"sslmode":        at(func(u *url.URL) { u.RawQuery = "sslmode=maybe" }),
		"port":           at(func(u *url.URL) { u.RawQuery = "port=x" }),
		"pool_max_conns": at(func(u *url.URL) { u.RawQuery += "&pool_max_conns=0" }),
		"no key":         "hunter2",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			theirs, errA := pgxpool.New(t.Context(), dsn)
			ours, errB := pool.New(t.Context(), dsn, &pool.Config{Logger: (&logs{}).logger()})
			if errA != nil {
				implies(t, "New", errA, errB)
				assert.NotContains(t, fmt.Sprintf("%v %+v", errB, errB), "hunter2")
				var parse *pgconn.ParseConfigError
				if errors.As(errB, &parse) {
					assert.Empty(t, parse.ConnString)
				}
				return
			}
			require.NoError(t, errB)
			defer theirs.Close()
			defer ours.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second) // a server that is read-only is waited for
			defer cancel()
			var all sync.WaitGroup
			for name, call := range map[string]func(db both) error{
				"Exec":  func(db both) error { _, err := db.Exec(ctx, "select 1"); return err },
				"Begin": func(db both) error { _, err := db.Begin(ctx); return err },
				"Query": func(db both) error { r, err := db.Query(ctx, "select 1"); return readAll(r, err) },
			} {
				all.Go(func() { implies(t, name, call(theirs), call(ours)) })
			}
			all.Wait()
		})
	}
}
