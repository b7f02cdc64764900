package lane

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestANameIsForWhatIsPreparedNow(t *testing.T) {
	t.Parallel()
	ln := &Lane{prepared: map[any]*prepared{}}
	old := ln.add(1, "select 1", "n", nil)
	s := ln.add(2, "select 1", "n", nil)
	assert.NotContains(t, ln.prepared, 1, "its name is another's")
	assert.Empty(t, ln.surplus, "the Parse of the other closes it")
	ln.forget(old)
	assert.Empty(t, ln.surplus, "it is forgotten already")
	ln.forget(s)
	assert.Equal(t, []string{"n"}, ln.takeSurplus())
	ln.forget(ln.add(3, "select 1", "n", nil))
	ln.add(4, "select 1", "n", nil)
	assert.Empty(t, ln.surplus, "it is Parsed under this name before anything is deallocated")
}

func TestALaneKeepsSoManyStatementsPrepared(t *testing.T) {
	t.Parallel()
	ln := &Lane{prepared: map[any]*prepared{}}
	for i := range maxPrepared + 1 {
		ln.add(i, "select 1", strconv.Itoa(i), nil)
	}
	assert.Len(t, ln.prepared, maxPrepared)
	assert.Len(t, ln.order, maxPrepared)
	assert.NotContains(t, ln.prepared, 0, "the oldest")
	assert.Equal(t, []string{"0"}, ln.surplus)
}

func TestAStatementIsParsedOnce(t *testing.T) {
	t.Parallel()
	named, unnamed := &prepared{name: "n"}, &prepared{}
	assert.True(t, named.parses())
	assert.False(t, named.parses())
	assert.True(t, unnamed.parses())
	assert.True(t, unnamed.parses(), "each time")
}
