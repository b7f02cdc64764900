package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// What is on and cannot be is an error that names both fields; what is automatic is off then, and Config says so.
func TestOnIsAnErrorWhereAutoIsOff(t *testing.T) {
	t.Parallel()
	hook := func(context.Context, *pgx.Conn) (bool, error) { return true, nil }
	const lanes, isolation = `lmipool: Config.Lanes is "on": want "auto" or "off", since `, `lmipool: Config.Isolation is "on": want "auto" or "off", since `
	for name, of := range map[string]struct {
		dsn                                   string
		config                                pool.Config
		faults                                []string
		autoLanes, autoIsolation, shadowLanes pool.Switch
	}{
		"nothing":     {"host=h", pool.Config{}, nil, pool.Auto, pool.Auto, pool.Shadow},
		"PrepareConn": {"host=h", pool.Config{PrepareConn: hook}, []string{lanes + "PrepareConn is set"}, pool.Off, pool.Auto, ""},
		"describe":    {"host=h default_query_exec_mode=cache_describe", pool.Config{}, []string{lanes + "default_query_exec_mode is cache describe"}, pool.Off, pool.Auto, ""},
		"exec":        {"host=h default_query_exec_mode=exec", pool.Config{}, []string{lanes + "default_query_exec_mode is exec", isolation + "default_query_exec_mode is exec"}, pool.Off, pool.Off, ""},
		"PgBouncer":   {"host=h", pool.Config{Upstream: pool.UpstreamPgBouncer}, []string{isolation + `Upstream is "pgbouncer"`}, pool.Auto, pool.Off, pool.Shadow},
		"RDS Proxy":   {"host=h", pool.Config{Upstream: pool.UpstreamRDSProxy}, []string{isolation + `Upstream is "rds-proxy"`}, pool.Off, pool.Off, pool.Shadow},
		"Plain":       {"host=h", pool.Config{Plain: pool.On}, []string{lanes + `Plain is "on"`, isolation + `Plain is "on"`}, pool.Off, pool.Off, ""},
	} {
		of.config.Logger = (&logs{}).logger()
		open := func(lanes, isolation pool.Switch) (*pool.Config, error) {
			c := of.config
			c.Lanes, c.Isolation = lanes, isolation
			p, err := pool.New(t.Context(), of.dsn, &c)
			if err != nil {
				assert.True(t, pool.Misconfigured(err), name)
				return &pool.Config{}, err
			}
			p.Close()
			return p.Config(), nil
		}
		_, err := open(pool.On, pool.On)
		if len(of.faults) == 0 {
			assert.NoError(t, err, name)
		}
		for _, fault := range of.faults {
			assert.ErrorContains(t, err, fault, name)
		}
		c, err := open(pool.Auto, "")
		require.NoError(t, err, name)
		assert.Equal(t, of.autoLanes, c.Lanes, name)
		assert.Equal(t, of.autoIsolation, c.Isolation, name)
		c, err = open(pool.Shadow, pool.Off)
		assert.Equal(t, of.shadowLanes, c.Lanes, "%s: %v", name, err)
		c, err = open(pool.Off, pool.Off)
		require.NoError(t, err, name)
		assert.Equal(t, pool.Off, c.Lanes, name)
	}
}

func TestASwitchOfAnotherValueIsAnError(t *testing.T) {
	t.Parallel()
	_, err := pool.New(t.Context(), "host=h", &pool.Config{Lanes: "1", Isolation: pool.Shadow, Rerun: "On", Plain: "yes"})
	assert.EqualError(t, err, `lmipool: Config.Lanes is "1": want "auto", "on", "off" or "shadow"
lmipool: Config.Isolation is "shadow": want "auto", "on" or "off"
lmipool: Config.Rerun is "On": want "auto", "on" or "off"
lmipool: Config.Plain is "yes": want "auto", "on" or "off"`)
	assert.True(t, pool.Misconfigured(err))
}

// Lanes behind RDS Proxy are for who asks for them.
func TestLanesThatAreOnAreOnBehindRDSProxy(t *testing.T) {
	t.Parallel()
	p, err := pool.New(t.Context(), "host=h", &pool.Config{Upstream: pool.UpstreamRDSProxy, Lanes: pool.On})
	require.NoError(t, err)
	defer p.Close()
	assert.Equal(t, pool.On, p.Config().Lanes)
}

// What BeforeConnect chooses is known when a connection is there.
func TestLanesThatBeforeConnectMakesImpossibleAreLoggedOnce(t *testing.T) {
	t.Parallel()
	for lanes, lines := range map[pool.Switch]int{pool.Auto: 0, pool.On: 1, pool.Shadow: 1} {
		log := &logs{}
		p := newPoolAt(t, pgtest.Database(t), &pool.Config{MaxConns: 2, MinConns: 2, Lanes: lanes, Logger: log.logger(), BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error {
			cc.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
			return nil
		}})
		require.NoError(t, p.Warm(bounded(t)))
		require.Eventually(t, func() bool { return p.Stat().IdleConns() == 2 }, 30*time.Second, time.Millisecond)
		assert.Len(t, log.lines(), lines, lanes)
	}
}
