package pool_test

import (
	"encoding/json"
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// Stat as JSON has each number of its own, and nothing whose unit is not known.
func TestStatAsJSONHasAllNumbers(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPoolAt(t, pgtest.Database(t), &pool.Config{MaxConns: 3})
	require.NoError(t, p.Ping(ctx))
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	text, err := json.Marshal(p.Stat())
	l.Release()
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, json.Unmarshal(text, &all))
	assert.EqualValues(t, 3, all["max_conns"])
	assert.EqualValues(t, 1, all["acquired_conns"])
	assert.EqualValues(t, 2, all["acquire_count"])
	assert.Positive(t, all["dials"].(map[string]any)["time_ms"])
	assert.Less(t, all["acquire_duration_ms"], 60_000.0)

	groups := map[string]any{}
	methods := reflect.TypeFor[*pool.Stat]()
	for i := range methods.NumMethod() {
		m := methods.Method(i)
		if m.Name == "MarshalJSON" {
			continue
		}
		value, has := all[jsonName(m.Name, m.Type.Out(0))]
		assert.True(t, has, m.Name)
		if m.Type.Out(0).Kind() == reflect.Struct {
			groups[m.Name] = value
			for j := range m.Type.Out(0).NumField() {
				f := m.Type.Out(0).Field(j)
				assert.Contains(t, value, jsonName(f.Name, f.Type), m.Name)
			}
			assert.Len(t, value, m.Type.Out(0).NumField(), m.Name)
		}
	}
	assert.Len(t, groups, 5)
	assert.Len(t, all, methods.NumMethod()-1)
}

// jsonName is name in snake case, with the unit of a time.
func jsonName(name string, of reflect.Type) string {
	name = regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "${1}_${2}")
	name = regexp.MustCompile(`[A-Z]`).ReplaceAllStringFunc(name, func(s string) string { return string(s[0] + 'a' - 'A') })
	if of == reflect.TypeFor[time.Duration]() {
		name += "_ms"
	}
	return name
}
