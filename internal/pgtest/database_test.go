package pgtest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

func TestDatabasesAreIsolated(t *testing.T) {
	t.Parallel()
	a, b := connect(t, pgtest.Database(t)), connect(t, pgtest.Database(t))
	_, err := a.Exec(t.Context(), "create table t (n int)")
	require.NoError(t, err)
	require.Equal(t, "none", value(t, b, "select coalesce(to_regclass('t')::text, 'none')"))
}

func TestDatabasesShareAServer(t *testing.T) {
	t.Parallel()
	id := "select pg_postmaster_start_time()::text"
	require.Equal(t, value(t, connect(t, pgtest.Database(t)), id), value(t, connect(t, pgtest.Database(t)), id))
}

func TestADatabaseGoesWithItsTestAlsoWhileInUse(t *testing.T) {
	t.Parallel()
	outside := connect(t, pgtest.Database(t))
	var inside *pgx.Conn
	var name string
	t.Run("the test", func(t *testing.T) {
		var err error
		inside, err = pgx.Connect(t.Context(), pgtest.Database(t))
		require.NoError(t, err)
		name = value(t, inside, "select current_database()")
	})
	defer inside.Close(t.Context())
	var left bool
	require.NoError(t, outside.QueryRow(t.Context(),
		"select exists (select from pg_database where datname = $1)", name).Scan(&left))
	require.False(t, left, name)
	require.Error(t, inside.Ping(t.Context()))
}
