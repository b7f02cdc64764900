package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// deploy starts as many environments as run now, one after the other within over, and ends the old ones the same way from after on.
func (f *Fleet) deploy(over, after time.Duration) {
	old := append([]*Member{}, f.Members...)
	for i, m := range old {
		f.In(over*time.Duration(i)/time.Duration(len(old)), f.Start)
		f.In(after+over*time.Duration(i)/time.Duration(len(old)), func() { f.Stop(m, false) })
	}
}

// started returns a fleet of n environments that have run long enough to know each other.
func started(t *testing.T, f *Fleet, n int) *Fleet {
	t.Helper()
	for range n {
		f.In(f.random(300*sec), f.Start)
	}
	f.until(t, 900*sec, nil)
	return f
}

// A thousand environments, one deployment in AWS's fastest pace, which doubles them in five minutes, and up to three of ten polls lost.
func TestAThousandEnvironmentsAndADeployment(t *testing.T) {
	t.Parallel()
	type deployment struct {
		limit bool
		lost  float64
	}
	cases := []deployment{{true, 0.3}, {false, 0}}
	if histories(1) > 1 {
		cases = append(cases, deployment{true, 0}, deployment{false, 0.3})
	}
	for _, c := range cases {
		f := newFleet(1, 5000, c.limit)
		f.Lost = c.lost
		started(t, f, 1000)
		assert.LessOrEqual(t, f.off(1), 5)
		refused, highest := f.Refused, 0
		f.deploy(300*sec, 420*sec)
		polls, most := []int{f.Polls}, 0
		f.until(t, (900+720)*sec, func() {
			highest = max(highest, f.Total)
			if polls = append(polls, f.Polls); len(polls) > 30 {
				most = max(most, polls[len(polls)-1]-polls[len(polls)-31])
			}
		})
		at := func(after time.Duration) int { f.until(t, 1620*sec+after, nil); return f.off(1) }
		now, in30, in120 := at(0), at(30*sec), at(120*sec)
		t.Logf("CONNECTION LIMIT %v, %.0f %% of polls lost: at most %.1f polls a second in 30 s; not within 1 of the share: %d when the last old environment left, %d 30 s later, %d 120 s later; at most %d connections; %d dials refused",
			c.limit, 100*c.lost, float64(most)/30, now, in30, in120, highest, f.Refused-refused)
		assert.LessOrEqual(t, f.Over, 0)
		assert.Equal(t, refused, f.Refused)
		if c.lost == 0 {
			assert.Zero(t, in30)
			assert.LessOrEqual(t, most, 30*20)
		}
		assert.LessOrEqual(t, in30, 10)
		assert.LessOrEqual(t, in120, 5)
		assert.LessOrEqual(t, most, 30*21)
	}
}

// Twelve environments that start at once share 40 connections. Then four are killed, and four new ones start.
func TestTwelveEnvironmentsAtOnce(t *testing.T) {
	t.Parallel()
	for seed := range histories(20) {
		f := newFleet(seed, 40, seed%2 == 0)
		for range 12 {
			f.Start()
		}
		var polls []int
		look := func() { // four of the sixteen come or go within any 5 s
			polls = append(polls, f.Polls)
			if n := len(polls); n > 5 {
				assert.LessOrEqual(t, polls[n-1]-polls[n-6], 16, "polls in 5 s, up to %v", f.now)
			}
			if f.now < 30*sec {
				assert.LessOrEqual(t, polls[len(polls)-1]-polls[max(0, len(polls)-6)], 12, "polls in 5 s, up to %v", f.now)
			}
		}
		f.until(t, 30*sec, look)
		assert.Zero(t, f.off(0), "seed %d", seed)
		for range 4 {
			f.Stop(f.any(), true)
			f.Start()
		}
		f.until(t, 60*sec, look)
		assert.Zero(t, f.off(0), "seed %d", seed)
		assert.LessOrEqual(t, f.Over, 0)
		assert.Zero(t, f.Refused)
		for _, m := range f.Members {
			assert.Less(t, m.Waits, 100*ms)
		}
	}
}

// A hundred environments start one after the other while others of the role come and go.
func TestOthersOfTheRoleAreLeftTheirConnections(t *testing.T) {
	t.Parallel()
	for seed := range histories(5) {
		f := newFleet(seed, 500, false)
		f.Lost = 0.1
		f.Others = 50
		var come func()
		come = func() {
			f.Others = max(0, min(50, f.Others+f.Rand.IntN(11)-5))
			f.Look()
			f.In(sec, come)
		}
		come()
		started(t, f, 100)
		assert.LessOrEqual(t, f.Over, 0)
		assert.LessOrEqual(t, f.off(1), 2)
	}
}

// The server has room for fewer backends than the budget, so dials are refused. Who holds many learns this when it replaces a connection. So shares get
// even in the time in which connections are replaced.
func TestAFullServerMakesSharesFall(t *testing.T) {
	t.Parallel()
	for seed := range histories(5) {
		f := newFleet(seed, 1000, false)
		f.Room, f.Life = 100, 300*sec
		for i := range 20 {
			f.In(time.Duration(i)*2*sec, f.Start)
		}
		f.until(t, 120*sec, nil)
		refused := f.Refused
		f.until(t, 600*sec, nil)
		least, most := 1<<20, 0
		for _, m := range f.Members {
			least, most = min(least, m.Open), max(most, m.Open)
			assert.Less(t, m.Waits, 30*sec)
		}
		t.Logf("seed %d: %d to %d connections, %.1f dials refused a second", seed, least, most, float64(f.Refused-refused)/480)
		assert.LessOrEqual(t, most, 35, "without the rule for refused dials it is 47")
		assert.Less(t, f.Refused-refused, 480*20*2, "two a second of each environment")
	}
}

// There are fewer connections than environments, of which half have work at a time. Who has none gives its connection back, so everybody gets one.
func TestABudgetBelowTheEnvironments(t *testing.T) {
	t.Parallel()
	for seed := range histories(5) {
		f := newFleet(seed, 40, true)
		for range 60 {
			f.Start()
		}
		var change func()
		change = func() {
			m := f.any()
			m.Rest(!m.rests)
			f.In(f.exponential(200*ms), change)
		}
		change()
		f.until(t, 600*sec, nil)
		longest := time.Duration(0)
		for _, m := range f.Members {
			assert.True(t, m.Asks < 0 || f.now-m.Asks < 60*sec)
			longest = max(longest, m.Waits)
		}
		t.Logf("seed %d: the longest wait for a connection %v", seed, longest)
		assert.LessOrEqual(t, f.Over, 0)
		assert.Less(t, longest, 60*sec)
	}
}

// The server stands still for a minute. Nobody takes more meanwhile, and after it all get their shares back.
func TestAServerThatStandsStillIsNotAskedForMore(t *testing.T) {
	t.Parallel()
	f := started(t, newFleet(1, 5000, true), 1000)
	before, polls, most := f.Total, f.Polls, 0
	f.Still = true
	f.until(t, 960*sec, func() { most = max(most, f.Polls-polls); polls = f.Polls; assert.LessOrEqual(t, f.Total, before) })
	t.Logf("at most %d polls in one second while the server stood still", most)
	assert.Less(t, most, 100)
	f.Still = false
	f.until(t, 1200*sec, nil)
	assert.LessOrEqual(t, f.off(1), 5)
	assert.LessOrEqual(t, f.Over, 0)
}
