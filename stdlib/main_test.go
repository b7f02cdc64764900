package stdlib_test

import (
	"context"
	"database/sql"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	pgxstdlib "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
	"github.com/lmipool/lmipool/stdlib"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// lab has a database, and a *sql.DB of ours and one of pgx's on it.
type lab struct {
	t   testing.TB
	dsn string
	p   *pool.Pool
	db  *sql.DB
	pgx *sql.DB
}

func newLab(t testing.TB, c *pool.Config) *lab {
	t.Helper()
	l := &lab{t: t, dsn: pgtest.Database(t)}
	l.p = l.pool(c)
	l.db = l.open(l.p)
	config, err := pgx.ParseConfig(l.dsn)
	require.NoError(t, err)
	l.pgx = pgxstdlib.OpenDB(*config)
	t.Cleanup(func() { l.pgx.Close() })
	return l
}

func (l *lab) pool(c *pool.Config) *pool.Pool {
	l.t.Helper()
	p, err := pool.New(context.Background(), l.dsn, c)
	require.NoError(l.t, err)
	l.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = p.Shutdown(ctx)
	})
	return p
}

func (l *lab) open(on stdlib.DB) *sql.DB {
	db := stdlib.OpenDB(on)
	l.t.Cleanup(func() { db.Close() })
	return db
}

// exec runs statements of pgx's.
func (l *lab) exec(statements string) {
	l.t.Helper()
	_, err := l.pgx.Exec(statements)
	require.NoError(l.t, err)
}

// conn returns a *sql.Conn, which it closes at the test's end if the test has not.
func (l *lab) conn(ctx context.Context, db *sql.DB) *sql.Conn {
	l.t.Helper()
	c, err := db.Conn(ctx)
	require.NoError(l.t, err)
	l.t.Cleanup(func() { c.Close() })
	return c
}

func one[T any](t testing.TB, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, sql string, args ...any,
) (v T) {
	t.Helper()
	require.NoError(t, q.QueryRowContext(t.Context(), sql, args...).Scan(&v), sql)
	return v
}

// idle waits until no connection is in use.
func (l *lab) idle() {
	l.t.Helper()
	require.Eventually(l.t, func() bool { return l.p.Stat().AcquiredConns() == 0 }, 20*time.Second, time.Millisecond, "a connection is in use")
}

// teach runs sql until the pool knows that it needs no session.
func (l *lab) teach(sql string, args ...any) {
	l.t.Helper()
	require.Eventually(l.t, func() bool {
		rows, err := l.db.Query(sql, args...)
		if err == nil {
			for rows.Next() {
			}
			err = rows.Close()
		}
		require.NoError(l.t, err, sql)
		return !l.p.NeedsSession(l.t.Context(), sql, args...)
	}, 20*time.Second, time.Millisecond, "it is never known that %s needs no session", sql)
}

// together runs fs while no connection is free, until all of them wait, and returns how many rode.
func (l *lab) together(fs ...func()) (rides int64) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	var held []*pool.Lease
	for range l.p.Stat().MaxConns() {
		lease, err := l.p.Acquire(ctx)
		require.NoError(l.t, err)
		held = append(held, lease)
	}
	before := l.p.Stat().Lanes().Rides
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(f)
	}
	require.Eventually(l.t, func() bool { return int(l.p.Stat().Queued()) >= len(fs) }, 20*time.Second, time.Millisecond, "not all wait")
	for _, lease := range held {
		lease.Release()
	}
	wg.Wait()
	return l.p.Stat().Lanes().Rides - before
}
