package pool_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// limitedRole makes a role that may have n connections, and returns its connection string
// for a database of the test's own.
func limitedRole(t testing.TB, n int) (dsn string, i *inspector) {
	t.Helper()
	super := pgtest.Database(t)
	i = newInspector(t, super)
	role := "r_" + i.database()
	i.exec(fmt.Sprintf("create role %s login connection limit %d; grant all on schema public to %[1]s", role, n))
	t.Cleanup(func() { // before the database goes, and after the pool has
		ctx := context.Background()
		_, err := i.c.Exec(ctx, fmt.Sprintf("select pg_terminate_backend(pid) from pg_stat_activity where usename = '%s'", role))
		assert.NoError(t, err)
		_, err = i.c.Exec(ctx, "drop owned by "+role+"; drop role "+role)
		assert.NoError(t, err)
	})
	u, err := url.Parse(super)
	require.NoError(t, err)
	u.User = url.User(role)
	return u.String(), i
}

// occupy takes a connection of dsn's, and returns how to leave it.
func occupy(t testing.TB, dsn string) (leave func()) {
	t.Helper()
	var c *pgx.Conn
	eventually(t, "there is room", func() (ok bool) { // who left just now may still count
		var err error
		c, err = pgx.Connect(context.Background(), dsn)
		return err == nil
	})
	t.Cleanup(func() { c.Close(context.Background()) })
	return func() { c.Close(context.Background()) }
}

func TestAFullServerIsNobodysErrorWhileThereIsAConnection(t *testing.T) {
	t.Parallel()
	dsn, _ := limitedRole(t, 1)
	log := &logs{}
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 8, FleetBudget: -1, Logger: log.logger()})
	ctx := bounded(t)
	require.NoError(t, p.Ping(ctx))
	together(32, func(int) {
		for range 20 {
			_, err := p.Exec(ctx, "select pg_sleep(0.001)")
			assert.NoError(t, err)
		}
	})
	s := p.Stat()
	assert.NotZero(t, s.Dials().Refused, "the limit was met")
	assert.Equal(t, s.Dials().Failed, s.Dials().Refused)
	assert.EqualValues(t, 1, s.Limit(), "what the server refuses is no limit")
	assert.EqualValues(t, 1, s.NewConnsCount())
	assert.Equal(t, 1, strings.Count(strings.Join(log.lines(), "\n"), "dial failed"), "it is said once")
}

func TestWithoutAConnectionCallersWaitForRoom(t *testing.T) {
	t.Parallel()
	dsn, _ := limitedRole(t, 1)
	leave := occupy(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, Logger: (&logs{}).logger()})
	ctx := bounded(t)
	done := make(chan error)
	for range 8 {
		go func() { _, err := p.Exec(ctx, "select 1"); done <- err }()
	}
	eventually(t, "all wait, and they were refused twice", func() bool { return p.Stat().Dials().Refused >= 2 && p.Stat().Queued() == 8 })
	leave()
	for range 8 {
		assert.NoError(t, ends(t, "the wait for room", done))
	}
}

func TestWithNoConnectionAndNoTimeLeftTheErrorSaysWhatToChange(t *testing.T) {
	t.Parallel()
	dsn, i := limitedRole(t, 1)
	occupy(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, Logger: (&logs{}).logger()})
	err := inTime(t, 500*time.Millisecond, is(pool.ErrServerFull), func(ctx context.Context) error { return second(p.Exec(ctx, "select 1")) })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, pool.ErrServerFull)
	var pg *pgconn.PgError
	require.ErrorAs(t, err, &pg)
	assert.Equal(t, "53300", pg.Code)
	assert.ErrorContains(t, err, `too many connections for role "r_`+i.database()+`"`)
	assert.ErrorContains(t, err, "share them by FleetBudget; MaxConns is 4 here")
	t.Log(err)
}

func TestWithoutADeadlineTheWaitForRoomIsBounded(t *testing.T) {
	t.Parallel()
	dsn, _ := limitedRole(t, 1)
	occupy(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4, ConnectTimeout: 300 * time.Millisecond, Logger: (&logs{}).logger()})
	done := make(chan error)
	go func() { done <- p.Ping(context.Background()) }()
	err := ends(t, "the wait", done)
	assert.ErrorIs(t, err, pool.ErrServerFull)
	assert.False(t, errors.Is(err, context.DeadlineExceeded))
}

func TestADatabasesLimitAndTheReservedSlotsAreRoomToo(t *testing.T) {
	t.Parallel()
	s, err := pgtest.Start(bounded(t), pgtest.Options{Settings: map[string]string{"max_connections": "5", "superuser_reserved_connections": "2"}})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	i := newInspector(t, s.ConnString())
	i.exec("create role r login")
	i.exec("create database small connection limit 0")
	at := func(user, database string) string {
		return "postgres://" + user + "@" + s.Addr() + "/" + database + "?sslmode=disable"
	}
	refused := func(dsn string) error {
		t.Helper()
		p := newPoolAt(t, dsn, &pool.Config{Logger: (&logs{}).logger()})
		return inTime(t, 300*time.Millisecond, func(err error) bool { return errors.Is(err, pool.ErrServerFull) || pool.Misconfigured(err) }, p.Ping)
	}
	require.False(t, errors.Is(refused(at("nobody", "postgres")), pool.ErrServerFull))
	require.ErrorIs(t, refused(at("r", "small")), pool.ErrServerFull)
	occupy(t, at("r", "postgres"))
	occupy(t, at("r", "postgres"))
	require.ErrorIs(t, refused(at("r", "postgres")), pool.ErrServerFull, "what is left is reserved")
	occupy(t, s.ConnString())
	occupy(t, s.ConnString())
	require.ErrorIs(t, refused(s.ConnString()), pool.ErrServerFull, "there are too many clients")
}
