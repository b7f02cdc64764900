package lmipool_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
)

func TestAnOperatorCanSayWhatIsUpstream(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"pgpool", "PgBouncer"} {
		_, err := lmipool.OpenIn(t.Context(), with(managed("64"), "LMIPOOL_UPSTREAM", value), dsn, nil)
		assert.ErrorContains(t, err, `LMIPOOL_UPSTREAM is "`+value+`": want "auto", "direct", "rds-proxy" or "pgbouncer"`)
	}
	open := func(env map[string]string, c lmipool.Config) map[string]any {
		t.Helper()
		log := &logged{}
		c.Logger = log.logger()
		db, err := lmipool.OpenIn(t.Context(), env, dsn, &c)
		require.NoError(t, err)
		defer db.Close()
		return log.line(t, "lmipool: open")
	}
	line := open(managed("64"), lmipool.Config{})
	assert.Equal(t, "direct", line["database"].(map[string]any)["upstream"])
	assert.NotContains(t, line, "upstream")
	line = open(with(managed("64"), "LMIPOOL_UPSTREAM", "pgbouncer"), lmipool.Config{Upstream: lmipool.UpstreamRDSProxy})
	assert.Equal(t, "pgbouncer", line["database"].(map[string]any)["upstream"])
	assert.Equal(t, map[string]any{"value": "pgbouncer", "by": "LMIPOOL_UPSTREAM"}, line["upstream"])
}
