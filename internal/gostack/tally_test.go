package gostack_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/gostack"
)

func TestATallySaysEachPlaceAtOnceAndThenOnceAMinute(t *testing.T) {
	t.Parallel()
	var tally gostack.Tally
	start := time.Now()
	var said []string
	count := func(message string, place any, at time.Duration) {
		if attrs, say := tally.Count(message, place, start.Add(at)); say {
			said = append(said, fmt.Sprint(message, " ", place, " ", at, " ", attrs))
		}
	}
	for at := range 150 {
		count("leak", here(1, gostack.Deep), time.Duration(at)*time.Second)
	}
	assert.Len(t, said, 3)
	for i, want := range []string{" 0s [count=1]", " 1m0s [count=60]", " 2m0s [count=60]"} {
		assert.Contains(t, said[i], want)
	}

	said = nil
	count("leak", here(1, gostack.Deep), 151*time.Second)
	count("idle", "here", 151*time.Second)
	assert.Len(t, said, 2, "another place, and another message")

	said = nil
	for i := range 200 {
		count("many", i, 0)
	}
	assert.Len(t, said, 101)
	assert.Equal(t, "many 99 0s [count=1]", said[99])
	assert.Equal(t, "many 100 0s [count=1 places=other]", said[100])
	count("many", 7, time.Minute)
	count("many", 150, time.Minute)
	assert.Equal(t, []string{"many 7 1m0s [count=1]", "many 150 1m0s [count=100 places=other]"}, said[101:])
}
