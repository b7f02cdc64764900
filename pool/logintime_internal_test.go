package pool

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestALoginsTimeGrowsFromTryToTry(t *testing.T) {
	t.Parallel()
	var l loginTime
	l.init(2*time.Second, false)
	var got []time.Duration
	for range 6 {
		got = append(got, l.next()/time.Second)
		within := l.next()
		l.silent(within)
		l.silent(within) // of another at the same time
	}
	assert.Equal(t, []time.Duration{2, 4, 8, 16, 30, 30}, got)
	l.took(3 * time.Second)
	assert.Equal(t, 8*time.Second, l.next(), "twice what it took at least")
	l.took(time.Second / 10)
	assert.Equal(t, 2*time.Second, l.next())
	l.took(time.Hour)
	assert.Equal(t, mostLogin, l.next())
	l.silent(2 * time.Second)
	assert.Equal(t, mostLogin, l.next())
	assert.True(t, l.grows())

	var said loginTime
	said.init(5*time.Second, true)
	said.silent(5 * time.Second)
	said.took(time.Minute)
	assert.Equal(t, 5*time.Second, said.next())
	assert.False(t, said.grows())
}
