package pgtest_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

// Not parallel: it sets an environment variable.
func TestAGivenServerIsUsedInBothFormsOfItsName(t *testing.T) {
	s := start(t, pgtest.Options{Settings: map[string]string{"cluster_name": "given"}})
	_, port, err := net.SplitHostPort(s.Addr())
	require.NoError(t, err)
	for _, dsn := range []string{
		s.ConnString(),
		fmt.Sprintf("host=127.0.0.1 port=%s user=postgres dbname=postgres sslmode=disable", port),
	} {
		t.Run("", func(t *testing.T) {
			t.Setenv("LMIPOOL_TEST_DSN", dsn)
			conn := connect(t, pgtest.Database(t))
			require.Equal(t, "given", value(t, conn, "show cluster_name"))
			require.NotEqual(t, "postgres", value(t, conn, "select current_database()"))
		})
	}
}

// Not parallel: it sets an environment variable. Nothing is fetched, since pgtest refuses this version.
func TestTheSharedServersVersionCanBeChosen(t *testing.T) {
	t.Setenv("LMIPOOL_TEST_PG", "9.6")
	pgtest.StopShared()
	t.Cleanup(pgtest.StopShared)
	_, err := pgtest.SharedDSN()
	require.ErrorContains(t, err, `"9.6"`)
}

func TestAWrongBinaryDirectoryIsNamed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LMIPOOL_PG_BIN", dir)
	_, err := pgtest.Start(t.Context(), pgtest.Options{})
	require.ErrorContains(t, err, dir)
}
