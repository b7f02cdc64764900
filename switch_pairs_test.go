package lmipool_test

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
)

// A switch that is on, and cannot be because of another setting of the same hand, is an error that names both, with their values. These are all such
// pairs.
func TestASwitchThatCannotBeOnIsAnError(t *testing.T) {
	t.Parallel()
	hook := func(context.Context, *pgx.Conn) (bool, error) { return true, nil }
	const on, off, shadow = lmipool.On, lmipool.Off, lmipool.Shadow
	onOverrun := func(context.Context, any) (any, error) { return nil, nil }
	onPanic := func(context.Context, any, any) (any, error) { return nil, nil }
	const plain, noLanes = `since Plain is "on", which turns off all`, `since Lanes is "off" here, and only a read that may ride runs once more`
	type vars = []string
	for _, c := range []struct {
		dsn    string
		vars   vars
		config lmipool.Config
		field  string
		is     lmipool.Switch
		since  string
	}{
		{"host=h", nil, lmipool.Config{Plain: on, Lanes: on}, "Config.Lanes", on, plain},
		{"host=h", nil, lmipool.Config{Plain: on, Lanes: shadow}, "Config.Lanes", shadow, plain},
		{"host=h", nil, lmipool.Config{Plain: on, Isolation: on}, "Config.Isolation", on, plain},
		{"host=h", nil, lmipool.Config{Plain: on, Rerun: on}, "Config.Rerun", on, plain},
		{"host=h", nil, lmipool.Config{Plain: on, StandIn: on}, "Config.StandIn", on, plain},
		{"host=h", nil, lmipool.Config{Plain: on, CatchPanics: on}, "Config.CatchPanics", on, plain},
		{"host=h", vars{"LMIPOOL_STAND_IN", "on"}, lmipool.Config{Plain: on}, "LMIPOOL_STAND_IN", on, plain},
		{"host=h", vars{"LMIPOOL_STAND_IN", "on", "LMIPOOL_PLAIN", "on"}, lmipool.Config{}, "LMIPOOL_STAND_IN", on, plain},
		{"host=h", vars{"LMIPOOL_ISOLATION", "on", "LMIPOOL_PLAIN", "on"}, lmipool.Config{}, "LMIPOOL_ISOLATION", on, plain},
		{"host=h", nil, lmipool.Config{Lanes: off, Rerun: on}, "Config.Rerun", on, noLanes},
		{"host=h", vars{"LMIPOOL_RERUN", "on"}, lmipool.Config{Lanes: off}, "LMIPOOL_RERUN", on, noLanes},
		{"host=h", nil, lmipool.Config{PrepareConn: hook, Rerun: on}, "Config.Rerun", on, noLanes},
		{"host=h default_query_exec_mode=exec", nil, lmipool.Config{Rerun: on}, "Config.Rerun", on, noLanes},
		{"host=h", nil, lmipool.Config{Upstream: lmipool.UpstreamRDSProxy, Rerun: on}, "Config.Rerun", on, noLanes},
		{"host=h", nil, lmipool.Config{PrepareConn: hook, Lanes: on}, "Config.Lanes", on, "since PrepareConn is set"},
		{"host=h", nil, lmipool.Config{PrepareConn: hook, Lanes: shadow}, "Config.Lanes", shadow, "since PrepareConn is set"},
		{"host=h default_query_exec_mode=exec", nil, lmipool.Config{Lanes: on}, "Config.Lanes", on, "since default_query_exec_mode is exec"},
		{"host=h default_query_exec_mode=cache_describe", nil, lmipool.Config{Lanes: on}, "Config.Lanes", on, "since default_query_exec_mode is cache describe"},
		{"host=h default_query_exec_mode=exec", nil, lmipool.Config{Isolation: on}, "Config.Isolation", on, "since default_query_exec_mode is exec"},
		{"host=h", nil, lmipool.Config{Upstream: lmipool.UpstreamPgBouncer, Isolation: on}, "Config.Isolation", on, `since Upstream is "pgbouncer"`},
		{"host=p.proxy-abc.eu-west-1.rds.amazonaws.com", nil, lmipool.Config{Isolation: on}, "Config.Isolation", on, `since Upstream is "rds-proxy"`},
		{"host=h", nil, lmipool.Config{StandIn: off, OnOverrun: onOverrun}, "Config.StandIn", off, "since OnOverrun is set, which would never be called"},
		{"host=h", nil, lmipool.Config{CatchPanics: off, OnPanic: onPanic}, "Config.CatchPanics", off, "since OnPanic is set, which would never be called"},
	} {
		c.config.Logger = (&logged{}).logger()
		db, err := lmipool.OpenIn(t.Context(), with(managed("8"), c.vars...), c.dsn, &c.config)
		if err == nil {
			db.Close()
		}
		other := off
		if c.is == off {
			other = on
		}
		assert.ErrorContains(t, err, "lmipool: "+c.field+` is "`+string(c.is)+`": want "auto" or "`+string(other)+`", `+c.since, "%+v", c)
		assert.True(t, lmipool.Misconfigured(err), "%+v", c)
	}
}

// An operator can turn a part off that the code has turned on, and the log line says so.
func TestAVariableTurnsOffWhatTheCodeHasOn(t *testing.T) {
	t.Parallel()
	all := lmipool.Config{
		Lanes: lmipool.On, Isolation: lmipool.On, Rerun: lmipool.On, StandIn: lmipool.On, CatchPanics: lmipool.On,
		OnOverrun: func(context.Context, any) (any, error) { return nil, nil }, OnPanic: func(context.Context, any, any) (any, error) { return nil, nil },
	}
	for _, c := range []struct {
		variable string
		off      []string
	}{
		{"LMIPOOL_PLAIN=on", []string{"Lanes", "Isolation", "Rerun", "StandIn", "CatchPanics"}},
		{"LMIPOOL_LANES=off", []string{"Lanes", "Rerun"}},
		{"LMIPOOL_STAND_IN=off", []string{"StandIn"}},
		{"LMIPOOL_CATCH_PANICS=off", []string{"CatchPanics"}},
	} {
		log := &logged{}
		config := all
		config.Logger = log.logger()
		name, value, _ := strings.Cut(c.variable, "=")
		db, err := lmipool.OpenIn(t.Context(), with(managed("8"), name, value), "host=h", &config)
		require.NoError(t, err, c.variable)
		is := reflect.ValueOf(*db.Config())
		line := log.line(t, "lmipool: open")
		for field, key := range map[string]string{"Lanes": "lanes", "Isolation": "isolation", "Rerun": "rerun", "StandIn": "stand_in", "CatchPanics": "catch_panics"} {
			want, by := "on", "Config"
			for _, off := range c.off {
				if off == field {
					want, by = "off", name
				}
			}
			assert.Equal(t, want, is.FieldByName(field).String(), "%s: %s", c.variable, field)
			assert.Equal(t, map[string]any{"value": want, "by": by}, line[key], "%s: %s", c.variable, field)
		}
		db.Close()
		assert.Equal(t, lmipool.On, all.Rerun)
	}
}
