package pool_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// nowhere is a server that does not exist: New must not mind.
const nowhere = "postgres://u:hunter2@127.0.0.1:1/db?sslmode=disable&connect_timeout=2"

func TestNewDoesNotDial(t *testing.T) {
	t.Parallel()
	p := newPoolAt(t, nowhere, &pool.Config{MinConns: 2, HealthCheckPeriod: time.Millisecond, Logger: (&logs{}).logger()})
	time.Sleep(20 * time.Millisecond) // several rounds of housekeeping
	assert.Zero(t, p.Stat().Dials().Failed)
	err := p.Ping(bounded(t))
	assert.ErrorContains(t, err, "connection refused")
	assert.NotContains(t, err.Error(), "hunter2")
	assert.Error(t, p.Warm(bounded(t)))
}

func TestNewReportsEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	_, err := pool.New(context.Background(), nowhere, &pool.Config{
		MaxConns: -1, HealthCheckPeriod: -time.Second, ConnectTimeout: -1,
	})
	assert.EqualError(t, err, strings.Join([]string{
		"lmipool: Config.MaxConns is -1: want 1 or more",
		"lmipool: Config.HealthCheckPeriod is -1s: want a positive duration, or 0 for the default",
		"lmipool: Config.ConnectTimeout is -1ns: want a positive duration, or 0 for the default",
	}, "\n"))
	_, err = pool.New(context.Background(), nowhere, &pool.Config{MaxConns: 3, MinConns: 4, MinIdleConns: 5})
	assert.EqualError(t, err, "lmipool: Config.MinConns is 4: want at most MaxConns, 3\nlmipool: Config.MinIdleConns is 5: want at most MaxConns, 3")
	_, err = pool.New(context.Background(), "postgres://u:hunter2@h:notaport/db", nil)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestConfigWinsOverTheConnectionString(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t) + "&pool_max_conns=3&application_name=mine"
	assert.EqualValues(t, 3, newPoolAt(t, dsn, nil).Stat().MaxConns())
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 7, ApplicationName: "not mine"})
	assert.EqualValues(t, 7, p.Stat().MaxConns())
	var name string
	require.NoError(t, p.QueryRow(bounded(t), "show application_name").Scan(&name))
	assert.Regexp(t, hasID.String()+"mine$", name, "a name in the connection string counts")
}

// pgx 5.12 fixed what these settings expose; 5.11 must not be used with them.
func TestUnsafeSettingsAreRefusedOnOldPgx(t *testing.T) {
	t.Parallel()
	_, fixed := reflect.TypeFor[pgx.BatchResults]().MethodByName("Tx")
	for setting, want := range map[string]string{
		"default_query_exec_mode=simple_protocol":             "GHSA-j38q-h3ph-jjpq",
		"require_auth=scram-sha-256&sslmode=require":          "GHSA-95fj-3fxw-g62g",
		"channel_binding=require&sslmode=require":             "GHSA-95fj-3fxw-g62g",
		"require_auth=scram-sha-256&sslmode=verify-full":      "",
		"channel_binding=require&sslmode=verify-full":         "",
		"default_query_exec_mode=exec&channel_binding=prefer": "",
	} {
		p, err := pool.New(context.Background(), "postgres://u@127.0.0.1:1/db?"+setting, nil)
		if want == "" || fixed {
			if assert.NoError(t, err, setting) {
				p.Close()
			}
			continue
		}
		assert.ErrorContains(t, err, want, setting)
		assert.ErrorContains(t, err, "pgx 5.12", setting)
	}
}

func TestHooks(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	var before, after, prepare, released, closed atomic.Int32
	p := newPool(t, &pool.Config{
		MaxConns: 1,
		BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
			before.Add(1)
			c.RuntimeParams["search_path"] = "hooked"
			return nil
		},
		AfterConnect: func(ctx context.Context, c *pgx.Conn) error { after.Add(1); return c.Ping(ctx) },
		PrepareConn:  func(context.Context, *pgx.Conn) (bool, error) { return prepare.Add(1) != 2, nil },
		AfterRelease: func(*pgx.Conn) bool { return released.Add(1) != 2 },
		BeforeClose:  func(*pgx.Conn) { closed.Add(1) },
	})
	var path string
	for range 3 {
		require.NoError(t, p.QueryRow(ctx, "show search_path").Scan(&path))
	}
	assert.Equal(t, "hooked", path)
	eventually(t, "hooks ran", func() bool { return released.Load() == 3 })
	// The second PrepareConn and the second AfterRelease each said no.
	assert.EqualValues(t, 4, prepare.Load())
	assert.EqualValues(t, 3, before.Load())
	assert.EqualValues(t, 3, after.Load())
	assert.EqualValues(t, 2, closed.Load())
}

func TestPrepareConnsErrorIsTheCallers(t *testing.T) {
	t.Parallel()
	ctx, no := bounded(t), errors.New("no tenant")
	var keep atomic.Bool
	p := newPool(t, &pool.Config{MaxConns: 1, PrepareConn: func(context.Context, *pgx.Conn) (bool, error) { return keep.Load(), no }})
	assert.ErrorIs(t, p.Ping(ctx), no)
	keep.Store(true)
	assert.ErrorIs(t, p.Ping(ctx), no)
	assert.ErrorIs(t, p.Ping(ctx), no)
	assert.EqualValues(t, 2, p.Stat().NewConnsCount(), "true keeps the connection, false does not")
}

func TestAPanicInAHookIsItsFailure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*pool.Config{
		"BeforeConnect": {BeforeConnect: func(context.Context, *pgx.ConnConfig) error { panic("boom") }},
		"AfterConnect":  {AfterConnect: func(context.Context, *pgx.Conn) error { panic("boom") }},
		"PrepareConn":   {PrepareConn: func(context.Context, *pgx.Conn) (bool, error) { panic("boom") }},
		"AfterRelease":  {AfterRelease: func(*pgx.Conn) bool { panic("boom") }},
		"BeforeClose":   {BeforeClose: func(*pgx.Conn) { panic("boom") }, AfterRelease: func(*pgx.Conn) bool { return false }},
		"ShouldPing":    {ShouldPing: func(context.Context, pgxpool.ShouldPingParams) bool { panic("boom") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &logs{}
			c.Logger, c.MaxConns = log.logger(), 1
			ctx, p := bounded(t), newPool(t, c)
			err := p.Ping(ctx)
			if name == "BeforeConnect" || name == "AfterConnect" || name == "PrepareConn" {
				assert.ErrorContains(t, err, name+" panicked: boom")
			} else {
				assert.NoError(t, err)
			}
			eventually(t, "it is logged with its stack", func() bool {
				for _, line := range log.lines() {
					if strings.Contains(line, name+" panicked") && strings.Contains(line, "config_test.go") {
						return true
					}
				}
				return false
			})
			eventually(t, "no place is lost", func() bool { return p.Stat().TotalConns() == p.Stat().IdleConns() })
			assert.Positive(t, p.Stat().PanicCount())
		})
	}
}

// tracer counts what pgx and pgxpool call.
type tracer struct{ queries, acquires, releases atomic.Int32 }

func (t *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	t.queries.Add(1)
	return ctx
}
func (t *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (t *tracer) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	t.acquires.Add(1)
	return ctx
}

func (t *tracer) TraceAcquireEnd(_ context.Context, _ *pgxpool.Pool, d pgxpool.TraceAcquireEndData) {
	if d.Conn == nil && d.Err == nil {
		panic("neither")
	}
}
func (t *tracer) TraceRelease(*pgxpool.Pool, pgxpool.TraceReleaseData) { t.releases.Add(1) }

func TestTheTracerSeesWhatThePoolDoesAndNotItsDials(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		tr := &tracer{}
		ctx, p := bounded(t), newPool(t, &pool.Config{Tracer: tr, Plain: on(plain)})
		for range 3 {
			_, err := p.Exec(ctx, "select 1")
			require.NoError(t, err)
		}
		assert.Equal(t, []int32{3, 3, 3}, []int32{tr.queries.Load(), tr.acquires.Load(), tr.releases.Load()}, "plain: %t", plain)
	}
}

func TestPlainIsPgxpool(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{Plain: pool.On, MaxConns: 5})
	inv, scope := p.OpenScope(ctx, "", time.Time{})
	assert.Equal(t, ctx, inv)
	assert.Nil(t, scope)
	scope.End()

	r, err := p.Query(inv, "select 1")
	require.NoError(t, err)
	r.Close()
	tx, err := p.Begin(ctx)
	require.NoError(t, err)
	assert.IsType(t, &pgxpool.Tx{}, tx)
	require.NoError(t, tx.Rollback(ctx))
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	var n int
	require.NoError(t, l.QueryRow(ctx, "select 1").Scan(&n))
	require.NoError(t, l.Conn().Ping(ctx))
	assert.EqualValues(t, 1, p.Stat().AcquiredConns())
	l.Release()
	assert.EqualValues(t, 5, p.Stat().MaxConns())
	require.NoError(t, p.Ping(ctx))
	require.NoError(t, p.Warm(ctx))
	together(64, func(int) {
		_, err := p.Exec(ctx, "select pg_sleep(0.001)")
		assert.NoError(t, err)
	})
	assert.EqualValues(t, 5, p.Stat().TotalConns(), "as pgxpool does: up to the ceiling at once")
	assert.NoError(t, p.Shutdown(ctx))
}
