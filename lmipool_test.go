package lmipool_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lambdaenv"
)

// a server that is not there: Open must not mind.
const dsn = "postgres://user:hunter2@127.0.0.1:1/db?sslmode=disable"

func managed(concurrency string) map[string]string {
	return map[string]string{
		"AWS_LAMBDA_RUNTIME_API":          "127.0.0.1:9001",
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "lambda-managed-instances",
		"AWS_LAMBDA_MAX_CONCURRENCY":      concurrency,
		"AWS_LAMBDA_FUNCTION_NAME":        "orders",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "2048",
	}
}

func with(vars map[string]string, more ...string) map[string]string {
	for i := 0; i < len(more); i += 2 {
		vars[more[i]] = more[i+1]
	}
	return vars
}

func TestTheCeilingFollowsTheConcurrency(t *testing.T) {
	t.Parallel()
	for concurrency, want := range map[string]int32{"1": 2, "8": 2, "9": 3, "64": 16, "65": 17, "256": 64, "1600": 64} {
		db, err := lmipool.OpenIn(t.Context(), managed(concurrency), dsn, nil)
		require.NoError(t, err)
		assert.Equal(t, want, db.Stat().MaxConns(), "concurrency %s", concurrency)
		assert.Equal(t, lambdaenv.ManagedInstances, db.Env().Kind)
		db.Close()
	}
	for kind, want := range map[string]int32{"on-demand": 2, "provisioned-concurrency": 2, "snap-start": 2} {
		db, err := lmipool.OpenIn(t.Context(), map[string]string{"AWS_LAMBDA_RUNTIME_API": "x", "AWS_LAMBDA_INITIALIZATION_TYPE": kind}, dsn, nil)
		require.NoError(t, err)
		assert.Equal(t, want, db.Stat().MaxConns(), kind)
		db.Close()
	}
	db, err := lmipool.OpenIn(t.Context(), nil, dsn, nil)
	require.NoError(t, err)
	defer db.Close()
	assert.GreaterOrEqual(t, db.Stat().MaxConns(), int32(4), "not on Lambda: pgxpool's default")
}

func TestWhoWins(t *testing.T) {
	t.Parallel()
	const inString = dsn + "&pool_max_conns=5&pool_min_conns=3"
	config := &lmipool.Config{MaxConns: 7}
	for _, c := range []struct {
		by     string
		vars   map[string]string
		dsn    string
		config *lmipool.Config
		want   int32
	}{
		{"formula", managed("64"), dsn, nil, 16},
		{"connection string", managed("64"), inString, nil, 5},
		{"Config", managed("64"), inString, config, 7},
		{"LMIPOOL_MAX_CONNS", with(managed("64"), "LMIPOOL_MAX_CONNS", "9"), inString, config, 9},
	} {
		log := &logged{}
		conf := lmipool.Config{}
		if c.config != nil {
			conf = *c.config
		}
		conf.Logger = log.logger()
		db, err := lmipool.OpenIn(t.Context(), c.vars, c.dsn, &conf)
		require.NoError(t, err)
		assert.Equal(t, c.want, db.Stat().MaxConns(), c.by)
		got := log.line(t, "lmipool: open")["max_conns"].(map[string]any)
		assert.Equal(t, map[string]any{"value": float64(c.want), "by": c.by}, got)
		db.Close()
	}
	assert.EqualValues(t, 7, config.MaxConns, "the caller's Config is left alone")

	db, err := lmipool.OpenIn(t.Context(), with(managed("64"), "LMIPOOL_MAX_CONNS", "2", "LMIPOOL_MIN_CONNS", "0"), inString, nil)
	require.NoError(t, err, "0 turns pool_min_conns=3 off, which would be more than MaxConns")
	db.Close()
}

func TestOpenSaysWhatItChoseAndNoSecret(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db, err := lmipool.OpenIn(t.Context(),
		with(managed("64"), "DATABASE_URL", dsn, "LMIPOOL_MAX_CONN_IDLE_TIME", "90s", "LMIPOOL_MAX_CONN", "3"),
		"", &lmipool.Config{Logger: log.logger()})
	require.NoError(t, err)
	defer db.Close()
	line := log.line(t, "lmipool: open")
	env := line["environment"].(map[string]any)
	assert.Equal(t, "lambda-managed-instances", env["kind"])
	assert.EqualValues(t, 64, env["max_concurrency"])
	database := line["database"].(map[string]any)
	assert.Equal(t, "DATABASE_URL", database["from"])
	assert.Equal(t, "127.0.0.1", database["host"])
	assert.Regexp(t, `^lmipool/[0-9a-z]{8}/orders$`, database["application_name"])
	assert.Equal(t, map[string]any{"value": "1m30s", "by": "LMIPOOL_MAX_CONN_IDLE_TIME"}, line["max_conn_idle_time"])
	unknown := log.line(t, "unknown variable")
	assert.Equal(t, "LMIPOOL_MAX_CONN", unknown["variable"])
	assert.Equal(t, "LMIPOOL_MAX_CONNS", unknown["nearest"])
	assert.NotContains(t, log.text(), "hunter2")
}

func TestOpenSaysWhatAutoHasDecidedAndWhy(t *testing.T) {
	t.Parallel()
	type says = map[string]any
	const on, proxy = "postgres://u@h/d?sslmode=disable", "postgres://u@orders.proxy-abcdefghijkl.eu-west-1.rds.amazonaws.com/d"
	prepare := func(context.Context, *pgx.Conn) (bool, error) { return true, nil }
	managedOn := says{"value": "on", "by": "managed instance"}
	off := func(by string) says { return says{"value": "off", "by": by} }
	by := says{"value": "on", "by": "default"}
	for dsn, c := range map[string]struct {
		env    map[string]string
		config lmipool.Config
		want   says
	}{
		on: {env: managed("64"), want: says{
			"lanes": by, "isolation": by, "stand_in": managedOn, "catch_panics": managedOn, "sslmode": says{"value": "disable", "by": "connection string"},
		}},
		"postgres://u@h/d": {config: lmipool.Config{PrepareConn: prepare, StandIn: lmipool.On}, want: says{
			"lanes":     off("PrepareConn is set, which must run before each statement, and rides share a connection"),
			"isolation": by, "stand_in": says{"value": "on", "by": "Config"}, "catch_panics": off("not a managed instance"),
			"sslmode": says{"value": "prefer", "by": "default of pgx"}, "environment": says{"kind": "not-lambda"},
		}},
		proxy: {env: managed("64"), want: says{
			"lanes":     off("lanes are not tested behind RDS Proxy"),
			"isolation": off(`Upstream is "rds-proxy", which shares its sessions with others`), "sslmode": says{"value": "verify-full", "by": "default for a host of AWS"},
		}},
		"postgres://u@h/d?default_query_exec_mode=exec": {config: lmipool.Config{Isolation: lmipool.Off}, want: says{
			"lanes":     off("default_query_exec_mode is exec, in which a ride's answer may differ from pgx's"),
			"isolation": off("Config"),
		}},
		"postgres://u@h/d?sslmode=require": {env: with(managed("64"), "LMIPOOL_PLAIN", "on"), want: says{
			"lanes": off(`Plain is "on", which turns off all that lmipool adds`), "isolation": off(`Plain is "on", which turns off all that lmipool adds`), "stand_in": off(`Plain is "on", which turns off all that lmipool adds`), "catch_panics": off(`Plain is "on", which turns off all that lmipool adds`),
			"plain": says{"value": "on", "by": "LMIPOOL_PLAIN"}, "sslmode": says{"value": "require", "by": "connection string"},
		}},
		"user=u database=d host=/tmp": {want: says{"sslmode": nil}},
	} {
		log := &logged{}
		c.config.Logger = log.logger()
		db, err := lmipool.OpenIn(t.Context(), c.env, dsn, &c.config)
		require.NoError(t, err, dsn)
		line := log.line(t, "lmipool: open")
		for key, want := range c.want {
			assert.Equal(t, want, line[key], "%s of %s", key, dsn)
		}
		db.Close()
	}
}

func TestEverySwitchsErrorListsItsValues(t *testing.T) {
	t.Parallel()
	for field, values := range map[string]string{
		"LANES": `"auto", "on", "off" or "shadow"`, "ISOLATION": `"auto", "on" or "off"`, "RERUN": `"auto", "on" or "off"`, "STAND_IN": `"auto", "on" or "off"`,
		"CATCH_PANICS": `"auto", "on" or "off"`, "PLAIN": `"auto", "on" or "off"`, "UPSTREAM": `"auto", "direct", "rds-proxy" or "pgbouncer"`,
	} {
		_, err := lmipool.OpenIn(t.Context(), map[string]string{"LMIPOOL_" + field: "1"}, dsn, nil)
		assert.EqualError(t, err, "lmipool: LMIPOOL_"+field+` is "1": want `+values)
	}
}

func TestOpenReportsEveryBadVariableAtOnce(t *testing.T) {
	t.Parallel()
	_, err := lmipool.OpenIn(t.Context(), map[string]string{
		"LMIPOOL_MAX_CONNS": "0", "LMIPOOL_MIN_CONNS": "-1", "LMIPOOL_PING_TIMEOUT": "5", "LMIPOOL_CONNECT_TIMEOUT": "0s", "LMIPOOL_PLAIN": "yes",
	}, dsn, nil)
	assert.EqualError(t, err, strings.Join([]string{
		`lmipool: LMIPOOL_MAX_CONNS is "0": want a whole number from 1 to 2147483647, such as "8"`,
		`lmipool: LMIPOOL_MIN_CONNS is "-1": want a whole number from 0 to 2147483647, such as "8"`,
		`lmipool: LMIPOOL_PING_TIMEOUT is "5": want a duration with its unit, such as "30s", or "0" for none`,
		`lmipool: LMIPOOL_CONNECT_TIMEOUT is "0s": want a positive duration with its unit, such as "30s"`,
		`lmipool: LMIPOOL_PLAIN is "yes": want "auto", "on" or "off"`,
	}, "\n"))
	_, err = lmipool.OpenIn(t.Context(), nil, "postgres://user:hunter2@h:port/db", nil)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestOnLambdaTheDatabaseMustBeNamed(t *testing.T) {
	t.Parallel()
	_, err := lmipool.OpenIn(t.Context(), managed("64"), "", nil)
	assert.EqualError(t, err, "lmipool: no database: pass a connection string to Open, or set DATABASE_URL or PGHOST")
}

func TestAnOddEnvironmentIsLoggedAndHonoured(t *testing.T) {
	t.Parallel()
	log := &logged{}
	vars := with(managed("32"), "AWS_LAMBDA_INITIALIZATION_TYPE", "something-new")
	db, err := lmipool.OpenIn(t.Context(), vars, dsn, &lmipool.Config{Logger: log.logger()})
	require.NoError(t, err)
	defer db.Close()
	assert.Contains(t, log.line(t, "the Lambda environment is not as expected")["error"], "something-new")
	assert.EqualValues(t, 8, db.Stat().MaxConns())
}

func TestPlainIsTheMasterSwitch(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	db, err := lmipool.OpenIn(ctx, with(managed("64"), "LMIPOOL_PLAIN", "on"), pgtest.Database(t), nil)
	require.NoError(t, err)
	defer db.Close()
	type key struct{}
	h := lmipool.Handler(db, func(got context.Context, _ struct{}) (any, error) {
		assert.Equal(t, context.WithValue(ctx, key{}, 1), got, "no scope")
		return nil, db.Ping(got)
	})
	_, err = h(context.WithValue(ctx, key{}, 1), struct{}{})
	assert.NoError(t, err)
	assert.EqualValues(t, 16, db.Stat().MaxConns())
}

func TestApplicationNameIsCutAndTheUsersOwnStays(t *testing.T) {
	t.Parallel()
	ctx, server := bounded(t), pgtest.Database(t)
	var name string
	db, err := lmipool.OpenIn(ctx, with(managed("64"), "AWS_LAMBDA_FUNCTION_NAME", strings.Repeat("f", 64)), server, nil)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRow(ctx, "show application_name").Scan(&name))
	assert.Len(t, name, 63)

	own, err := lmipool.OpenIn(ctx, managed("64"), server+"&application_name=mine", nil)
	require.NoError(t, err)
	defer own.Close()
	require.NoError(t, own.QueryRow(ctx, "show application_name").Scan(&name))
	assert.Regexp(t, `^lmipool/[0-9a-z]{8}/mine$`, name)
	assert.Equal(t, own.Config().ApplicationName, name)
}

func TestALowerCeilingCutsTheFloor(t *testing.T) {
	t.Parallel()
	floor := &lmipool.Config{MinConns: 4}
	for by, vars := range map[string]map[string]string{
		"an operator": with(managed("64"), "LMIPOOL_MAX_CONNS", "2"),
		"the formula": managed("8"),
	} {
		db, err := lmipool.OpenIn(t.Context(), vars, dsn+"&pool_min_idle_conns=3", floor)
		require.NoError(t, err, by)
		assert.EqualValues(t, 2, db.Stat().MaxConns())
		db.Close()
	}
	_, err := lmipool.OpenIn(t.Context(), managed("64"), dsn, &lmipool.Config{MaxConns: 2, MinConns: 4})
	assert.EqualError(t, err, "lmipool: Config.MinConns is 4: want at most MaxConns, 2", "a Config that contradicts itself")
}
