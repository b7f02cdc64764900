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

func TestWhoWantsAWriter(t *testing.T) {
	t.Parallel()
	const zone = "-c0ffee.eu-west-1.rds.amazonaws.com/d"
	for dsn, want := range map[string]string{
		"localhost/d": "", "localhost/d?target_session_attrs=any": "",
		"localhost/d?target_session_attrs=read-write": "wanted", "localhost/d?target_session_attrs=primary": "wanted",
		"localhost/d?target_session_attrs=read-only": "never", "localhost/d?target_session_attrs=standby": "never",
		"localhost/d?target_session_attrs=prefer-standby": "never",
		"db.cluster" + zone: "wanted", "db.cluster-ro" + zone: "never", "db.cluster-custom" + zone: "never",
		"db.cluster-ro" + zone + "?target_session_attrs=primary": "wanted",
		"p.proxy" + zone: "never", "db.global-c0ffee.global.rds.amazonaws.com/d": "wanted", "db.c0ffee.eu-west-1.rds.amazonaws.com/d": "",
	} {
		px, err := pgxpool.ParseConfig("postgres://u@" + dsn)
		require.NoError(t, err)
		never, wanted := newWriter(px.ConnConfig, UpstreamAuto.of(px.ConnConfig))
		assert.Equal(t, want == "never", never, dsn)
		assert.Equal(t, want == "wanted", wanted, dsn)
	}
}
