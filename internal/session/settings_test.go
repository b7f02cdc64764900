package session

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSettingsAreOneStatementAndItsParameters(t *testing.T) {
	t.Parallel()
	for _, once := range []bool{false, true} {
		s, err := NewSettings(map[string]string{"app.B": "2", "app.a": "1"}, once)
		require.NoError(t, err)
		assert.Equal(t, "select pg_catalog.set_config($1, $2, true), pg_catalog.set_config($3, $4, true)", s.SQL)
		assert.Equal(t, "app.a 1 app.b 2", string(bytes.Join(s.Params, []byte(" "))))
		assert.Equal(t, map[string]string{"app.a": "1", "app.b": "2"}, s.Values)
		assert.Equal(t, "app.a,app.b", s.Key())
		assert.True(t, s.Custom())
		own, others := s.Prologue(true), s.Prologue(false)
		assert.Equal(t, once, own.Name == "")
		assert.Nil(t, own.Unnamed)
		assert.Empty(t, others.Name)
		assert.NotNil(t, others.Unnamed)
	}
}

func TestALongNameIsShownInPart(t *testing.T) {
	t.Parallel()
	_, err := NewSettings(map[string]string{strings.Repeat("é", 100) + " ": "1"}, false)
	assert.EqualError(t, err, `lmipool: With: "`+strings.Repeat("é", 40)+`…" is no name of a setting: want one like app.tenant, at most 63 bytes`)
	_, err = NewSettings(map[string]string{"é" + strings.Repeat("x", 77) + "é": "1"}, false)
	assert.ErrorContains(t, err, `"é`+strings.Repeat("x", 77)+`…" is no name`)
}
