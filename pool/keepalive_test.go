package pool

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDialsToAWSAreShortUnlessSomebodySaysOtherwise(t *testing.T) {
	t.Parallel()
	const aurora = "postgres://u@db.cluster-c0ffee.eu-west-1.rds.amazonaws.com/d"
	for _, c := range []struct {
		dsn        string
		config     Config
		dial, hook time.Duration
	}{
		{aurora, Config{}, 2 * time.Second, 10 * time.Second},
		{aurora + "?connect_timeout=30", Config{}, 30 * time.Second, 30 * time.Second},
		{aurora, Config{ConnectTimeout: 5 * time.Second}, 5 * time.Second, 5 * time.Second},
		{"postgres://u@localhost/d", Config{}, 10 * time.Second, 10 * time.Second},
		{"postgres://u@localhost/d?connect_timeout=3", Config{}, 3 * time.Second, 3 * time.Second},
	} {
		px, err := pgxpool.ParseConfig(c.dsn)
		require.NoError(t, err)
		cfg := c.config.withDefaults(px)
		assert.Equal(t, c.dial, px.ConnConfig.ConnectTimeout, c.dsn)
		assert.Equal(t, c.hook, cfg.ConnectTimeout, c.dsn)
	}
}
