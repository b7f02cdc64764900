package account

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/observe"
)

func TestAnAccountAddsUp(t *testing.T) {
	t.Parallel()
	var a Account
	assert.Equal(t, observe.Usage{}, a.Usage())
	a.Waited(time.Second)
	a.Waited(-time.Hour) // a clock that was set
	a.Ran(observe.Begin, "begin", false, 0, time.Second)
	a.Ran(observe.Exec, "update t set a = 'secret'", false, 3, 2*time.Second)
	a.Ran(observe.Query, "select 1", true, 1, time.Millisecond)
	a.Ran(observe.Query, "select 1", true, 1, time.Millisecond)
	a.Ran(observe.Batch, "", false, 0, time.Millisecond)
	a.IdleInTx(time.Minute)
	assert.Equal(t, observe.Usage{
		Statements: 4, Rides: 2, Rows: 5, Waited: time.Second, Ran: 3*time.Second + 3*time.Millisecond, IdleInTx: time.Minute,
		Longest: 2 * time.Second, LongestText: "update t set a = ?", Repeated: 2, RepeatText: "select ?",
	}, a.Usage())
	assert.Equal(t, 2, a.Repeated())
	assert.Equal(t, time.Minute+4*time.Second+3*time.Millisecond, a.Busy())
	a.Ran(observe.Exec, strings.Repeat("select ", 1000), false, 0, time.Hour)
	assert.LessOrEqual(t, len(a.Usage().LongestText), mostBytes+len("…"))
}

// Whatever else runs, a text that is more than a seventh of all is found, and its count is not too high and not too low by more than a seventh.
func TestTheTextThatRanMostOftenIsFound(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var a Account
		n, total := 0, 100+random.IntN(400)
		for range total {
			if random.IntN(3) == 0 {
				n++
				a.Ran(observe.Query, "often", false, 0, 0)
			} else {
				a.Ran(observe.Query, fmt.Sprint(random.IntN(1000)), false, 0, 0)
			}
		}
		u := a.Usage()
		assert.LessOrEqual(t, u.Repeated, n)
		if n > total/(mostTexts+1) {
			assert.GreaterOrEqual(t, u.Repeated, n-total/(mostTexts+1))
			assert.Equal(t, "often", u.RepeatText)
		}
	}
}

func TestAnAccountAllocatesNothing(t *testing.T) {
	var a Account
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		a.Waited(1)
		for _, sql := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			a.Ran(observe.Query, sql, true, 1, 1)
		}
		_ = a.Busy() + time.Duration(a.Repeated())
	}))
}
