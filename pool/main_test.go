package pool_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// TestMain is also the main of the environments of a fleet.
func TestMain(m *testing.M) {
	if os.Getenv(freezeDSN) != "" {
		runFrozen()
		return
	}
	if os.Getenv(fleetDSN) != "" {
		runMember()
		return
	}
	// Many tests wait for the server or for a timer, so more of them run at once than there are CPUs. -parallel on the command line comes later, and wins.
	if err := flag.Set("test.parallel", strconv.Itoa(1+runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	os.Exit(pgtest.Main(m))
}

// newPool opens a pool on a database of the test's own, and closes it.
func newPool(t testing.TB, c *pool.Config) *pool.Pool {
	t.Helper()
	return newPoolAt(t, pgtest.Database(t), c)
}

func newPoolAt(t testing.TB, dsn string, c *pool.Config) *pool.Pool {
	t.Helper()
	p, err := pool.New(context.Background(), dsn, c)
	require.NoError(t, err)
	p.LooksAtOnce(true) // so that a test knows when the pool has learned something; storms and the tests of what is put off do without
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		p.Shutdown(ctx)
	})
	return p
}

// bounded is a ctx that fails the test rather than let it hang.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// inspector is a connection beside the pool, to see what the server sees.
type inspector struct {
	t  testing.TB
	c  *pgx.Conn
	mu sync.Mutex
}

func newInspector(t testing.TB, dsn string) *inspector {
	t.Helper()
	c, err := pgx.Connect(context.Background(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(context.Background()) })
	return &inspector{t: t, c: c}
}

// backends is how many others are connected to this database.
func (i *inspector) backends() (n int) {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	err := i.c.QueryRow(context.Background(), `select count(*) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`).Scan(&n)
	require.NoError(i.t, err)
	return n
}

// neverMore asserts all the time, until stop is called, that there are at most so many backends. stop returns how often it looked, and the most it saw.
// The connection of a cancel request is no backend.
func (i *inspector) neverMore(most int) (stop func() (samples, peak int)) {
	over := make(chan struct{})
	var sampled sync.WaitGroup
	samples, peak := 0, 0
	sampled.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				n := i.backends()
				samples, peak = samples+1, max(peak, n)
				assert.LessOrEqual(i.t, n, most)
			}
		}
	})
	return func() (int, int) {
		close(over)
		sampled.Wait()
		return samples, peak
	}
}

// database is the name of the database.
func (i *inspector) database() string { return i.c.Config().Database }

// exec runs a command.
func (i *inspector) exec(sql string) {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	_, err := i.c.Exec(context.Background(), sql)
	require.NoError(i.t, err)
}

// count runs a query that returns one number.
func (i *inspector) count(sql string) (n int) {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	require.NoError(i.t, i.c.QueryRow(context.Background(), sql).Scan(&n))
	return n
}

// logs collects what the pool logs.
type logs struct {
	mu      sync.Mutex
	records []slog.Record
}

func (l *logs) logger() *slog.Logger                     { return slog.New(l) }
func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	return nil
}

// with are the lines that contain text.
func (l *logs) with(text string) (lines []string) {
	for _, line := range l.lines() {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// lines are the records, each as its message and attributes.
func (l *logs) lines() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		s := r.Message
		r.Attrs(func(a slog.Attr) bool { s += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
		lines = append(lines, s)
	}
	return lines
}

// eventually waits, by asking, for what no event announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 2*time.Millisecond, what)
}

// inTime is the error of do under a ctx that ends after d. On a busy machine that may be too early for the error that is wanted, so it calls do again, with twice
// the time, until it is that one.
func inTime(t testing.TB, d time.Duration, wanted func(error) bool, do func(context.Context) error) error {
	t.Helper()
	for ; ; d *= 2 {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		err := do(ctx)
		cancel()
		if wanted(err) || d > 20*time.Second {
			return err
		}
	}
}

// is reports whether an error is target.
func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

// wasSent reports whether the statement of an error had a connection when its time ended.
func wasSent(err error) bool { var a *pool.AcquireError; return !errors.As(err, &a) }
