package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAtMostIsTheShorterOfTwoTimeouts(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"0": "100ms", "50ms": "50ms", "99": "99", "100ms": "100ms", "5s": "100ms", "1min": "100ms", "2h": "100ms", "1d": "100ms",
		"5000us": "5000us", "nonsense": "100ms", "": "100ms", "99999999999999999999ms": "100ms",
	} {
		assert.Equal(t, "'"+want+"'", atMost(setting, 100*time.Millisecond), setting)
	}
}
