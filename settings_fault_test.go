package lmipool_test

import (
	"context"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
)

// libpq's last resort is a local socket, which no Lambda has.
func TestOnEveryKindOfLambdaTheHostMustBeNamed(t *testing.T) {
	t.Parallel()
	kinds := map[string]map[string]string{
		"managed": managed("8"), "no Runtime API": {"AWS_LAMBDA_FUNCTION_NAME": "orders"},
	}
	for _, kind := range []string{"on-demand", "provisioned-concurrency", "snap-start"} {
		kinds[kind] = map[string]string{"AWS_LAMBDA_RUNTIME_API": "x", "AWS_LAMBDA_INITIALIZATION_TYPE": kind}
	}
	hook := func(context.Context, *pgx.ConnConfig) error { return nil }
	for kind, vars := range kinds {
		open := func(dsn string, config *lmipool.Config, more ...string) error {
			all := map[string]string{}
			maps.Copy(all, vars)
			db, err := lmipool.OpenIn(t.Context(), with(all, more...), dsn, config)
			if err == nil {
				db.Close()
			}
			return err
		}
		for _, dsn := range []string{"", "dbname=orders user=app", "host='' dbname=orders", "postgres:///orders", "postgres://app:hunter2@/orders", "postgres://app@:5432/orders?sslmode=disable"} {
			err := open(dsn, nil)
			if assert.ErrorContains(t, err, "lmipool: no database: ", "%s: %s", kind, dsn) {
				assert.True(t, lmipool.Misconfigured(err))
				assert.NotContains(t, err.Error(), "hunter2")
			}
			assert.ErrorContains(t, open("", nil, "DATABASE_URL", dsn), "no database")
			assert.NoError(t, open(dsn, &lmipool.Config{BeforeConnect: hook}), "it may give one")
			assert.NoError(t, open(dsn, nil, "PGHOST", "h"))
			assert.NoError(t, open(dsn, nil, "PGSERVICE", "mine"), "its file may name one")
		}
		for _, dsn := range []string{"host=h", "host = '/tmp'", "postgres://h", "postgres://h:1/d", "postgres://[::1]/d", "postgres://%2Ftmp/d", "postgres:///d?host=/tmp", "postgres://,h/d"} {
			assert.NoError(t, open(dsn, nil), dsn)
		}
	}
	db, err := lmipool.OpenIn(t.Context(), nil, "", nil)
	require.NoError(t, err, "elsewhere there may be a socket")
	db.Close()
}

func TestAFaultNamesWhatHasToChange(t *testing.T) {
	t.Parallel()
	const d = "postgres://user:hunter2@127.0.0.1:1/db?sslmode=disable"
	for want, of := range map[string]struct {
		dsn    string
		vars   []string
		config lmipool.Config
	}{
		`the nearest is "pool_max_conns"`:                                                     {dsn: d + "&pool_max_conn=5"},
		`the nearest is "pool_max_conn_lifetime", of po`:                                      {dsn: d + "&pool_max_lifetime=5m"},
		`the nearest is "sslmode"`:                                                            {dsn: "host=h sslmod=require"},
		`the nearest is "target_session_attrs"`:                                               {dsn: d + "&target_session_attr=any"},
		`sslmode is invalid): want disable, allow, prefer, require, verify-ca or verify-full`: {dsn: "host=h sslmode=required"},
		`some: want any, read-write, read-only, primary, standby or prefer-standby`:           {dsn: "host=h target_session_attrs=some"},
		`want cache_statement, cache_describe, describe_exec, exec or simple_protocol`:        {dsn: "host=h default_query_exec_mode=simple"},
		`want a duration with its unit, such as "30s"`:                                        {dsn: d + "&pool_max_conn_lifetime=5"},
		`invalid port: want a number from 1 to 65535`:                                         {dsn: "host=h port=x"},
		"lmipool: LMIPOOL_REPLY_MARGIN is 5s: want at most Margin, 1s":                        {dsn: d, vars: []string{"LMIPOOL_REPLY_MARGIN", "5s"}, config: lmipool.Config{Margin: time.Second}},
		"lmipool: Config.ReplyMargin is 5s: want at most Margin, 1s":                          {dsn: d, config: lmipool.Config{Margin: time.Second, ReplyMargin: 5 * time.Second}},
		"lmipool: LMIPOOL_MIN_CONNS is 7: want at most MaxConns, 5":                           {dsn: d, vars: []string{"LMIPOOL_MIN_CONNS", "7"}, config: lmipool.Config{MaxConns: 5}},
		`lmipool: Config.StandIn is "yes": want "auto", "on" or "off"`:                        {dsn: d, config: lmipool.Config{StandIn: "yes"}},
		`lmipool: Config.CatchPanics is "shadow": want "auto", "on" or "off"`:                 {dsn: d, config: lmipool.Config{CatchPanics: lmipool.Shadow}},
		`lmipool: LMIPOOL_PLAIN is "1": want "auto", "on" or "off"`:                           {dsn: d, vars: []string{"LMIPOOL_PLAIN", "1"}},
		`lmipool: LMIPOOL_PANIC is "reply", and is not read any more: set LMIPOOL_CATCH_PANI`: {dsn: d, vars: []string{"LMIPOOL_PANIC", "reply"}},
		`lmipool: LMIPOOL_STANDIN is "0", and is not read any more: set LMIPOOL_STAND_IN, "o`: {dsn: d, vars: []string{"LMIPOOL_STANDIN", "0"}},
		`lmipool: LMIPOOL_LANES is "on": want "auto" or "off", since default_query_exec_mode`: {dsn: d + "&default_query_exec_mode=exec", vars: []string{"LMIPOOL_LANES", "on"}},
		`lmipool: Config.LaneFunctions[1] is "f()": want "name" or "schema.name", without`:    {dsn: d, config: lmipool.Config{LaneFunctions: []string{"f", "f()"}}},
		`lmipool: Config.LaneFunctions[0] is " f": want "name" or "schema.name", without`:     {dsn: d, config: lmipool.Config{LaneFunctions: []string{" f"}}},
		`lmipool: LMIPOOL_MAX_CONNS is "lots": want a whole number from 1 to 2147483647`:      {dsn: d, vars: []string{"LMIPOOL_MAX_CONNS", "lots"}},
	} {
		of.config.Logger = (&logged{}).logger()
		db, err := lmipool.OpenIn(t.Context(), with(managed("8"), of.vars...), of.dsn, &of.config)
		if !assert.ErrorContains(t, err, want) {
			if err == nil {
				db.Close()
			}
			continue
		}
		assert.True(t, lmipool.Misconfigured(err))
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

func TestAnEmptyVariableIsNotSet(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db, err := lmipool.OpenIn(t.Context(), with(managed("64"), "LMIPOOL_MAX_CONNS", "", "LMIPOOL_LANES", "", "LMIPOOL_PLAIN", "", "LMIPOOL_STAND_IN", "", "LMIPOOL_PING_TIMEOUT", ""),
		dsn, &lmipool.Config{Logger: log.logger()})
	require.NoError(t, err)
	defer db.Close()
	assert.EqualValues(t, 16, db.Stat().MaxConns())
	assert.Equal(t, "LMIPOOL_MAX_CONNS", log.line(t, "an empty variable")["variable"], "only of a limit, once")
	assert.Equal(t, map[string]any{"value": 16., "by": "formula"}, log.line(t, "lmipool: open")["max_conns"])
}

// An int32 ran over, and each acquire failed at once.
func TestAnAbsurdMaxConnsIsWarnedOfAndWorks(t *testing.T) {
	t.Parallel()
	for _, n := range []int32{1000, 1001, math.MaxInt32} {
		log := &logged{}
		db, err := lmipool.OpenIn(t.Context(), nil, pgtest.Database(t), &lmipool.Config{MaxConns: n, Logger: log.logger()})
		require.NoError(t, err)
		assert.NoError(t, db.Ping(bounded(t)))
		assert.Equal(t, n > 1000, strings.Contains(log.text(), "MaxConns is more than a server takes"))
		db.Close()
	}
}
