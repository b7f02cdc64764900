package pgtest_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
)

func TestAClusterFailsOverAndBack(t *testing.T) {
	t.Parallel()
	c, err := pgtest.StartCluster(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	for range 2 {
		old := c.Writer
		_, err := connect(t, old.ConnString()).Exec(t.Context(), "create table if not exists t (i int); insert into t values (1)")
		require.NoError(t, err)
		c.StopWriter()
		require.NoError(t, c.Promote(t.Context()))
		require.NotEqual(t, old.Addr(), c.Writer.Addr())
		require.NoError(t, c.Rejoin(t.Context(), true))
		_, err = connect(t, old.ConnString()).Exec(t.Context(), "insert into t values (1)")
		require.ErrorContains(t, err, "25006")
	}
	require.Equal(t, "2", value(t, connect(t, c.Writer.ConnString()), "select count(*)::text from t"))
}

// After CatchUp the standby has every commit that was made before it.
func TestCatchUpWaitsForEachCommit(t *testing.T) {
	t.Parallel()
	c, err := pgtest.StartCluster(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	writer, standby := connect(t, c.Writer.ConnString()), connect(t, c.Standby.ConnString())
	_, err = writer.Exec(t.Context(), "create table t (i int)")
	require.NoError(t, err)
	for i := range 20 {
		_, err := writer.Exec(t.Context(), "insert into t values ($1)", i)
		require.NoError(t, err)
		require.NoError(t, c.CatchUp(t.Context()))
		require.Equal(t, strconv.Itoa(i+1), value(t, standby, "select count(*)::text from t"))
	}
}
