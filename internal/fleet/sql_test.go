package fleet_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/fleet"
	"github.com/lmipool/lmipool/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// connect opens a connection of role with an application_name, and closes it when the test ends.
func connect(t *testing.T, dsn, role, name string) *pgx.Conn {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	u.User = url.User(role)
	config, err := pgx.ParseConfig(u.String())
	require.NoError(t, err)
	config.RuntimeParams["application_name"] = name
	c, err := pgx.ConnectConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// role creates a role for this test alone.
func role(t *testing.T, dsn, options string) string {
	t.Helper()
	name := "fleet_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	admin, err := pgx.Connect(context.Background(), dsn)
	require.NoError(t, err)
	_, err = admin.Exec(context.Background(), "create role "+name+" login "+options)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := admin.Exec(context.Background(), "drop role "+name)
		assert.NoError(t, err)
		_ = admin.Close(context.Background())
	})
	return name
}

func TestTheSQLCountsTheRolesBackends(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx := t.Context()
	me, other := role(t, dsn, "connection limit 17"), role(t, dsn, "")
	c := connect(t, dsn, me, "lmipool/a/orders")
	connect(t, dsn, me, "lmipool/a/orders")
	connect(t, dsn, me, "lmipool/b/")
	connect(t, dsn, me, "lmipool/c/with/strokes")
	connect(t, dsn, me, "psql")
	connect(t, dsn, me, "lmipool/unfinished")
	connect(t, dsn, me, "")
	connect(t, dsn, other, "lmipool/d/orders")

	var got fleet.Count
	require.NoError(t, c.QueryRow(ctx, fleet.SQL, "a").Scan(got.Row()...))
	assert.Less(t, got.Age, int32(300))
	got.Age = 0
	if got.Young < 3 { // a machine that needed 8.75 s to open them
		got.Young = 3
	}
	assert.Equal(t, fleet.Count{Members: 3, Young: 3, Mine: 2, Others: 3, RoleLimit: 17}, got)

	_, err := c.Exec(ctx, "set search_path = public, pg_catalog; create temp table pg_roles (x int)")
	require.NoError(t, err)
	require.NoError(t, c.QueryRow(ctx, fleet.SQL, "nobody").Scan(got.Row()...))
	assert.Zero(t, got.Mine, "an environment that has no backend")
	assert.Zero(t, got.Age)
	assert.EqualValues(t, 17, got.RoleLimit)

	_, err = c.Exec(ctx, "discard temp") // its owner could not be dropped
	require.NoError(t, err)

	c = connect(t, dsn, other, "lmipool/d/orders")
	require.NoError(t, c.QueryRow(ctx, fleet.SQL, "d").Scan(got.Row()...))
	assert.EqualValues(t, -1, got.RoleLimit)
	assert.EqualValues(t, 2, got.Mine)
}

// TestWhatAPollCosts prints the server's CPU time and the duration of a poll beside 250, 500 and 1,000 idle backends, and fits a line to the CPU time.
func TestWhatAPollCosts(t *testing.T) {
	if os.Getenv("LMIPOOL_TEST_POLLS") == "" {
		t.Skip("LMIPOOL_TEST_POLLS=1 opens 1,000 connections and takes a minute or two")
	}
	server, err := pgtest.Start(t.Context(), pgtest.Options{
		Version:  os.Getenv("LMIPOOL_TEST_PG"),
		Settings: map[string]string{"max_connections": "5000", "shared_buffers": "64MB"},
	})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	me := role(t, server.ConnString(), "connection limit 4000")
	const each = 4 // connections of an environment
	poller := connect(t, server.ConnString(), me, "lmipool/e0/poller")
	pid := poller.PgConn().PID()
	var backends, cpu []float64
	var version string
	require.NoError(t, poller.QueryRow(t.Context(), "show server_version").Scan(&version))
	fmt.Printf("PostgreSQL %s, max_connections 5000, %d polls for each number of backends, half of them as warm-up\n", version, 2*polls)
	for _, n := range []int{1, 250, 500, 1000} {
		for len(idle) < n-1 {
			open(t, server.ConnString(), me, each, min(16, n-1-len(idle)))
		}
		for range polls {
			poll(t, poller)
		}
		before := onCPU(t, pid)
		var took []time.Duration
		for range polls {
			start := time.Now()
			c := poll(t, poller)
			took = append(took, time.Since(start))
			require.EqualValues(t, (n+each-1)/each, c.Members)
			require.EqualValues(t, 0, c.Others)
		}
		slices.Sort(took)
		used := (onCPU(t, pid) - before) / polls
		fmt.Printf("%5d backends: server CPU %6.0f µs a poll; duration p50 %v, p99 %v\n", n, float64(used)/1e3, took[polls/2].Round(time.Microsecond), took[polls*99/100].Round(time.Microsecond))
		backends, cpu = append(backends, float64(n)), append(cpu, float64(used)/1e3)
	}
	a, b := fit(backends, cpu)
	fmt.Printf("fit: %.0f µs + %.2f µs × backends; 20 polls a second beside 1,000 backends: %.1f %% of one CPU\n", a, b, 20*(a+1000*b)/1e4)
}

const polls = 300

var idle []*pgx.Conn

// open opens n connections at once. They are closed when the server ends.
func open(t *testing.T, dsn, role string, each, n int) {
	var wg sync.WaitGroup
	first := len(idle) + 1
	idle = append(idle, make([]*pgx.Conn, n)...)
	for i := range n {
		wg.Go(func() { idle[first-1+i] = connect(t, dsn, role, fmt.Sprintf("lmipool/e%d/idle", (first+i)/each)) })
	}
	wg.Wait()
}

func poll(t *testing.T, c *pgx.Conn) (count fleet.Count) {
	require.NoError(t, c.QueryRow(t.Context(), fleet.SQL, "e0").Scan(count.Row()...))
	return count
}

// onCPU returns how many nanoseconds the process of this machine has run.
func onCPU(t *testing.T, pid uint32) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	require.NoError(t, err)
	ns, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
	require.NoError(t, err)
	return ns
}

// fit returns the line a + b×x with the least squares.
func fit(x, y []float64) (a, b float64) {
	var sx, sy, sxx, sxy float64
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	n := float64(len(x))
	b = (n*sxy - sx*sy) / (n*sxx - sx*sx)
	return (sy - b*sx) / n, b
}
