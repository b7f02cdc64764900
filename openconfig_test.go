package lmipool_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
)

func parsed(t *testing.T, dsn string) *pgxpool.Config {
	t.Helper()
	px, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	return px
}

// A variable wins over Config, that over pgxpool's Config, that over the formula and the defaults; the log says who has won.
func TestOpenConfigSaysWhoWins(t *testing.T) {
	t.Parallel()
	px := parsed(t, dsn+"&pool_max_conn_idle_time=7m")
	px.MinConns, px.MaxConnLifetime, px.HealthCheckPeriod, px.ConnConfig.ConnectTimeout = 2, time.Minute, 20*time.Second, 3*time.Second
	log := &logged{}
	db, err := lmipool.OpenConfigIn(t.Context(), with(managed("64"), "LMIPOOL_MAX_CONN_LIFETIME", "5m"), px, &lmipool.Config{HealthCheckPeriod: 10 * time.Second, Logger: log.logger()})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	c := db.Config()
	assert.EqualValues(t, 16, c.MaxConns, "ParseConfig's own is not the user's")
	assert.EqualValues(t, 2, c.MinConns)
	assert.Equal(t, 5*time.Minute, c.MaxConnLifetime)
	assert.Equal(t, 7*time.Minute, c.MaxConnIdleTime)
	assert.Equal(t, 10*time.Second, c.HealthCheckPeriod)
	assert.Equal(t, 3*time.Second, c.ConnectTimeout)
	assert.Equal(t, lmipool.On, c.StandIn)
	assert.Equal(t, time.Minute, px.MaxConnLifetime, "it is copied")
	line := log.line(t, "lmipool: open")
	assert.Equal(t, map[string]any{"value": 16., "by": "formula"}, line["max_conns"])
	assert.Equal(t, map[string]any{"value": "2", "by": "pgxpool.Config"}, line["min_conns"])
	assert.Equal(t, map[string]any{"value": "5m0s", "by": "LMIPOOL_MAX_CONN_LIFETIME"}, line["max_conn_lifetime"])
	assert.Equal(t, map[string]any{"value": "7m", "by": "connection string"}, line["max_conn_idle_time"])
	assert.Equal(t, map[string]any{"value": "10s", "by": "Config"}, line["health_check_period"])
	assert.Equal(t, map[string]any{"value": "3s", "by": "pgxpool.Config"}, line["connect_timeout"])
	assert.Equal(t, "pgxpool.Config", line["database"].(map[string]any)["from"])

	px.MaxConns = 5
	db, err = lmipool.OpenConfigIn(t.Context(), managed("64"), px, nil)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	assert.EqualValues(t, 5, db.Config().MaxConns)
}

func TestOpenConfigTakesHooks(t *testing.T) {
	t.Parallel()
	px := parsed(t, pgtest.Database(t))
	connected := 0
	px.AfterConnect = func(context.Context, *pgx.Conn) error { connected++; return nil }
	px.BeforeAcquire = func(context.Context, *pgx.Conn) bool { return true } //nolint:staticcheck // deprecated, and still there
	db, err := lmipool.OpenConfigIn(t.Context(), managed("64"), px, nil)
	require.NoError(t, err)
	require.NoError(t, db.Ping(bounded(t)))
	db.Close()
	assert.Equal(t, 1, connected)
	assert.Equal(t, lmipool.Off, db.Config().Lanes, "BeforeAcquire has a say in each statement")
}

// pgxpool ends the process for the first two, in a goroutine of its own.
func TestOpenConfigTakesFieldsThatAreNil(t *testing.T) {
	t.Parallel()
	px := parsed(t, pgtest.Database(t))
	c := px.ConnConfig
	c.DialFunc, c.LookupFunc, c.BuildContextWatcherHandler, c.RuntimeParams, px.HealthCheckPeriod = nil, nil, nil, nil, 0
	db, err := lmipool.OpenConfigIn(t.Context(), nil, px, nil)
	require.NoError(t, err)
	defer db.Close()
	assert.NoError(t, db.Ping(bounded(t)))
}

func TestOpenConfigRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	nowhere := parsed(t, "dbname=orders")
	elsewhere := parsed(t, "dbname=orders")
	elsewhere.ConnConfig.Host = "h"
	few := parsed(t, dsn)
	few.MaxConns = 0
	for want, of := range map[string]struct {
		px     *pgxpool.Config
		config *lmipool.Config
		vars   []string
	}{
		"OpenConfig: the pgxpool.Config is nil: make one with pgxpool.ParseConfig": {},
		"the pgxpool.Config is not from pgxpool.ParseConfig":                       {px: &pgxpool.Config{}},
		"lmipool: the pgxpool.Config is not from pgxpool.ParseConfig":              {px: &pgxpool.Config{ConnConfig: parsed(t, dsn).ConnConfig}},
		"the pgxpool.Config is not from pgxpool.ParseConf":                         {px: &pgxpool.Config{ConnConfig: &pgx.ConnConfig{}, MaxConns: 1}},
		"no database: the pgxpool.Config has no host":                              {px: nowhere},
		"": {px: elsewhere},
		"lmipool: Config.MaxConns is 0: want 1 or more":            {px: few, vars: []string{"AWS_LAMBDA_RUNTIME_API", ""}},
		`lmipool: LMIPOOL_LANES is "yes": want "auto", "on", "off`: {px: elsewhere, vars: []string{"LMIPOOL_LANES", "yes"}},
		"lmipool: Config.Margin is -1ns: want":                     {px: elsewhere, config: &lmipool.Config{Margin: -1}},
	} {
		db, err := lmipool.OpenConfigIn(t.Context(), with(managed("8"), of.vars...), of.px, of.config)
		if err == nil {
			db.Close()
			assert.Empty(t, want)
			continue
		}
		require.NotEmpty(t, want, "%v", err)
		assert.ErrorContains(t, err, want)
		assert.True(t, lmipool.Misconfigured(err))
	}
	//nolint:staticcheck // that is what is tried
	_, err := lmipool.OpenConfig(nil, elsewhere, nil)
	assert.EqualError(t, err, "lmipool: OpenConfig: the ctx is nil: use context.Background")
}
