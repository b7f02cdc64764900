package pgdial

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestALoginsTimeGrowsFromTryToTry(t *testing.T) {
	t.Parallel()
	l := NewLoginTime(2*time.Second, false, nil)
	var got []time.Duration
	for range 6 {
		got = append(got, l.Next()/time.Second)
		within := l.Next()
		l.silent(within)
		l.silent(within) // of another at the same time
	}
	assert.Equal(t, []time.Duration{2, 4, 8, 16, 30, 30}, got)
	l.took(3 * time.Second)
	assert.Equal(t, 8*time.Second, l.Next(), "twice what it took at least")
	l.took(time.Second / 10)
	assert.Equal(t, 2*time.Second, l.Next())
	l.took(time.Hour)
	assert.Equal(t, mostLogin, l.Next())
	l.silent(2 * time.Second)
	assert.Equal(t, mostLogin, l.Next())
	assert.Greater(t, l.most, l.first)

	said := NewLoginTime(5*time.Second, true, nil)
	said.silent(5 * time.Second)
	said.took(time.Minute)
	assert.Equal(t, 5*time.Second, said.Next())
	assert.Equal(t, said.first, said.most)
}
