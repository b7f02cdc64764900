package fleet_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/fleet"
)

func TestANameBeginsWithTheID(t *testing.T) {
	t.Parallel()
	const id = fleet.ID("0a1b2c3d")
	for own, want := range map[string]string{
		"":                               "lmipool/0a1b2c3d/",
		"orders":                         "lmipool/0a1b2c3d/orders",
		"lmipool":                        "lmipool/0a1b2c3d/lmipool",
		"lmipool/orders/x":               "lmipool/0a1b2c3d/lmipool/orders/x",
		"lmipool/0a1b2c3d/orders":        "lmipool/0a1b2c3d/orders",
		"lmipool/ffffffff/orders/x":      "lmipool/0a1b2c3d/orders/x",
		strings.Repeat("n", 46):          "lmipool/0a1b2c3d/" + strings.Repeat("n", 46),
		strings.Repeat("n", 47):          "lmipool/0a1b2c3d/" + strings.Repeat("n", 46),
		strings.Repeat("n", 45) + "é":    "lmipool/0a1b2c3d/" + strings.Repeat("n", 45),
		strings.Repeat("n", 44) + "é":    "lmipool/0a1b2c3d/" + strings.Repeat("n", 44) + "é",
		strings.Repeat("n", 43) + "😀":    "lmipool/0a1b2c3d/" + strings.Repeat("n", 43),
		strings.Repeat("\x80", 100):      "lmipool/0a1b2c3d/",
		strings.Repeat("é", 20) + "lang": "lmipool/0a1b2c3d/" + strings.Repeat("é", 20) + "lang",
	} {
		got := id.Name(own)
		assert.Equal(t, want, got, own)
		assert.True(t, id.IsIn(got))
		assert.False(t, fleet.ID("ffffffff").IsIn(got))
		assert.LessOrEqual(t, len(got), 63)
		assert.True(t, utf8.ValidString(got) || !utf8.ValidString(own))
	}
}

func TestIDsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[fleet.ID]bool{}
	for range 1000 {
		id := fleet.NewID()
		assert.Regexp(t, `^[0-9a-z]{8}$`, string(id))
		seen[id] = true
	}
	assert.Len(t, seen, 1000)
}
