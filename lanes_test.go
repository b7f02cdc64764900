package lmipool_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
)

func TestAnOperatorCanTurnLanesAndRerunsOff(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string][]string{
		"LMIPOOL_LANES":     {"yes", "1", "Auto"},
		"LMIPOOL_RERUN":     {"no", "1", "shadow"},
		"LMIPOOL_ISOLATION": {"true", "0"},
	} {
		for _, value := range bad {
			_, err := lmipool.OpenIn(t.Context(), with(managed("64"), name, value), dsn, nil)
			assert.ErrorContains(t, err, name+` is "`+value+`": want `)
		}
	}
	_, err := lmipool.OpenIn(t.Context(), managed("64"), dsn, &lmipool.Config{Lanes: "fast", Isolation: "some", LaneFunctions: []string{"ok", "a.b", "a.b.c", ""}})
	assert.ErrorContains(t, err, `Config.Lanes is "fast": want "auto", "on", "off" or "shadow"`)
	assert.ErrorContains(t, err, `Config.Isolation is "some": want "auto", "on" or "off"`)
	assert.ErrorContains(t, err, `Config.LaneFunctions[2] is "a.b.c": want`)
	assert.ErrorContains(t, err, `Config.LaneFunctions[3] is "": want`)

	log := &logged{}
	db, err := lmipool.OpenIn(t.Context(), with(managed("64"), "LMIPOOL_LANES", "shadow", "LMIPOOL_RERUN", "off", "LMIPOOL_ISOLATION", "off"), dsn,
		&lmipool.Config{Lanes: lmipool.Off, Logger: log.logger()})
	require.NoError(t, err)
	defer db.Close()
	line := log.line(t, "lmipool: open")
	assert.Equal(t, map[string]any{"value": "shadow", "by": "LMIPOOL_LANES"}, line["lanes"])
	assert.Equal(t, map[string]any{"value": "off", "by": "LMIPOOL_RERUN"}, line["rerun"])
	assert.Equal(t, map[string]any{"value": "off", "by": "LMIPOOL_ISOLATION"}, line["isolation"])

	log = &logged{}
	db, err = lmipool.OpenIn(t.Context(), with(managed("64"), "LMIPOOL_RERUN", "on"), dsn,
		&lmipool.Config{Rerun: lmipool.Off, Logger: log.logger()})
	require.NoError(t, err)
	defer db.Close()
	assert.Equal(t, map[string]any{"value": "on", "by": "LMIPOOL_RERUN"}, log.line(t, "lmipool: open")["rerun"])
}
