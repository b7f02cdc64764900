package lmipool_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
)

func TestOpenSaysWhatBoundsTheFleet(t *testing.T) {
	t.Parallel()
	const auto = "the role's CONNECTION LIMIT, if it has one"
	for _, c := range []struct {
		vars      []string
		config    lmipool.Config
		budget    int32 // of Config
		value, by any   // in the log
	}{
		{nil, lmipool.Config{}, 0, auto, "default"},
		{nil, lmipool.Config{FleetBudget: 40}, 40, 40.0, "Config"},
		{[]string{"LMIPOOL_FLEET_BUDGET", "30"}, lmipool.Config{FleetBudget: 40}, 30, 30.0, "LMIPOOL_FLEET_BUDGET"},
		{[]string{"LMIPOOL_FLEET_BUDGET", "0"}, lmipool.Config{FleetBudget: 40}, -1, "off", "LMIPOOL_FLEET_BUDGET"},
		{nil, lmipool.Config{FleetBudget: -7}, -7, "off", "Config"},
		{nil, lmipool.Config{Upstream: lmipool.UpstreamPgBouncer}, 0, "off", `Upstream is "pgbouncer", whose own connections are what the server counts`},
		{[]string{"LMIPOOL_PLAIN", "on"}, lmipool.Config{FleetBudget: 40}, -1, "off", "LMIPOOL_PLAIN"},
		{nil, lmipool.Config{Plain: lmipool.On}, 0, "off", `Plain is "on", which turns off all that lmipool adds`},
	} {
		log := &logged{}
		c.config.Logger = log.logger()
		db, err := lmipool.OpenIn(t.Context(), with(managed("64"), c.vars...), "postgres://u@h/d?sslmode=require", &c.config)
		require.NoError(t, err)
		assert.Equal(t, c.budget, db.Config().FleetBudget)
		assert.Equal(t, map[string]any{"value": c.value, "by": c.by}, log.line(t, "lmipool: open")["fleet_budget"])
		db.Close()
	}
}

func TestAFleetBudgetThatCannotBeIsAnError(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		vars   []string
		config lmipool.Config
	}{
		`lmipool: LMIPOOL_FLEET_BUDGET is "many": want a whole number from 0 to 2147483647, such as "8"`: {vars: []string{"LMIPOOL_FLEET_BUDGET", "many"}},
		`lmipool: LMIPOOL_FLEET_BUDGET is "-3": want a whole number from 0 to 2147483647, such as "8"`:   {vars: []string{"LMIPOOL_FLEET_BUDGET", "-3"}},
		`lmipool: LMIPOOL_FLEET_BUDGET is 30: want 0, since Upstream is "pgbouncer", whose own connections are what the server counts`: {
			vars: []string{"LMIPOOL_FLEET_BUDGET", "30"}, config: lmipool.Config{Upstream: lmipool.UpstreamPgBouncer},
		},
		`lmipool: Config.FleetBudget is 40: want 0, since Plain is "on", which turns off all that lmipool adds`: {config: lmipool.Config{FleetBudget: 40, Plain: lmipool.On}},
	} {
		_, err := lmipool.OpenIn(t.Context(), with(managed("64"), c.vars...), "postgres://u@h/d?sslmode=require", &c.config)
		assert.EqualError(t, err, want)
	}
}
