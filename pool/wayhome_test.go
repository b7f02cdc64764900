package pool

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// condition is a bit for each field of state, in the order in which they count: what a step has left behind is never of
// more than what it has taken away, but for canceling, which settle takes away for good.
type condition uint16

const (
	isCanceling condition = 1 << iota
	isUntidy
	isLeft
	isShared
	isMaybeStandby
	isInTx
	isHook
	// of these only the end follows
	isSpoiled
	isPoolCloses
	isEnded
	isUnsettled
	conditions = isUnsettled<<1 - 1
)

func (c condition) state() state {
	is := func(b condition) bool { return c&b != 0 }
	return state{
		ended: is(isEnded), unsettled: is(isUnsettled), hook: is(isHook), poolCloses: is(isPoolCloses), canceling: is(isCanceling), inTx: is(isInTx),
		maybeStandby: is(isMaybeStandby), shared: is(isShared), spoiled: is(isSpoiled), left: is(isLeft), untidy: is(isUntidy),
	}
}

// wayHome says of each step what must be, and what must not be, for it to be due. For each condition one row has to fit.
var wayHome = map[step]struct{ must, mustNot condition }{
	lend:     {0, isEnded | isHook | isPoolCloses | isCanceling | isInTx | isMaybeStandby | isShared | isSpoiled | isLeft | isUntidy},
	tidy:     {isUntidy, isEnded | isHook | isPoolCloses | isCanceling | isInTx | isMaybeStandby | isShared | isSpoiled | isLeft},
	reset:    {isLeft, isEnded | isHook | isPoolCloses | isCanceling | isInTx | isMaybeStandby | isShared | isSpoiled},
	spoiled:  {isSpoiled, isEnded | isHook | isPoolCloses | isCanceling | isInTx | isMaybeStandby | isShared},
	discard:  {isShared, isEnded | isHook | isPoolCloses | isCanceling | isInTx | isMaybeStandby},
	runHook:  {isHook, isEnded | isCanceling | isInTx | isMaybeStandby},
	confirm:  {isMaybeStandby, isEnded | isPoolCloses | isCanceling | isInTx},
	rollback: {isInTx, isEnded | isPoolCloses | isCanceling},
	settle:   {isCanceling, isEnded | isPoolCloses},
	giveUp:   {isEnded | isUnsettled, 0},
}

func TestEachStateHasOneStep(t *testing.T) {
	t.Parallel()
	seen := map[step]int{}
	for c := range conditions + 1 {
		var due []step
		for s, row := range wayHome {
			if c&row.must == row.must && c&row.mustNot == 0 {
				due = append(due, s)
			}
		}
		if len(due) == 0 { // nobody can use it, or nobody is there to
			require.True(t, c&isEnded != 0 || c&isPoolCloses != 0, "%011b", c)
			due = []step{closing}
		}
		require.Equal(t, due, []step{c.state().next()}, "%011b", c)
		seen[due[0]]++
	}
	assert.Len(t, seen, int(tidy)+1, "each step is due in some state")
}

// takesAway is what a step that has done its work leaves no more.
var takesAway = map[step]condition{
	runHook: isHook, settle: isCanceling, rollback: isInTx, confirm: isMaybeStandby, discard: isShared, reset: isLeft, tidy: isUntidy,
}

// leaves is what there may be after a step that was not there before, besides an end: a hook may leave anything, a rollback's ctx may have ended just then,
// time makes questions.
func leaves(s step) condition {
	switch s {
	case settle:
		return isUntidy
	case tidy: // it looks, at last
		return 0
	}
	return takesAway[s] - 1
}

func TestEveryWayHomeEnds(t *testing.T) {
	t.Parallel()
	longest := map[condition]int{}
	var steps func(c condition) int
	steps = func(c condition) int {
		if n, known := longest[c]; known {
			require.Positive(t, n, "a way in a circle")
			return n
		}
		longest[c] = -1
		n := 1
		s := c.state().next()
		if s > closing {
			require.Equal(t, takesAway[s], c&takesAway[s], "step %d has something to do", s)
			more := leaves(s)
			for left := more; ; left = (left - 1) & more { // each set of what it may leave
				n = max(n, 1+steps(c&^takesAway[s]|left))
				if left == 0 {
					break
				}
			}
		}
		longest[c] = n
		return n
	}
	for c := range conditions + 1 {
		steps(c)
	}
	assert.Equal(t, giveUp, settle.failed())
	for _, s := range []step{discard, reset, tidy} {
		assert.Equal(t, spoiled, s.failed())
	}
	for _, s := range []step{runHook, rollback, confirm} {
		assert.Equal(t, closing, s.failed())
	}
}
