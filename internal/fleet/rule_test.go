package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/fleet"
)

const old = 1 << 20 // the age of a backend that is no newcomer's

// share is what a member has of a budget, just after it counted.
func share(budget, members, young, age int, limit bool) int {
	return shareBeside(0, budget, members, young, age, limit)
}

// shareBeside is share if the role has other backends.
func shareBeside(others, budget, members, young, age int, limit bool) int {
	c := fleet.Count{Members: int32(members), Young: int32(young), Mine: 1, Age: int32(age), Others: int32(others), RoleLimit: -1}
	if limit {
		c.RoleLimit, budget = int32(budget), 0
	}
	return counted(budget, c).Most(start)
}

// Members that have counted each other keep what they have, and newcomers come one by one or all at once. However many of them count before the next
// one comes, all connections are together within the budget, if as many newcomers come as the rule expects, and there is one connection for each.
func TestNewcomersFindRoom(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		members, limit := r.IntN(200), r.IntN(2) == 0
		others := r.IntN(40) * r.IntN(2)
		budget := others + max(1, members)*(1+r.IntN(30)) + r.IntN(100)
		sum := others
		if members > 0 {
			sum += members * shareBeside(others, budget, members, 0, old, limit)
		}
		// Without a limit as many as there are may come, less the others, or half as many, and with it those for which half of the room leaves one connection.
		room := budget - sum
		most := min(max(members-others, (members+1)/2), room)
		if limit || members == 0 {
			most = max(room/2, min(room, 1))
		}
		came := 0
		for came < most {
			batch := 1 + r.IntN(most-came)
			came += batch
			for range batch {
				sum += shareBeside(others, budget, members+came, came, 0, limit)
			}
		}
		if members+others <= budget && sum > budget {
			t.Fatalf("limit %v: %d members, %d newcomers and %d others have %d of %d", limit, members, came, others, sum, budget)
		}
	}
}

func TestANewcomerIsOneUntilTheOthersHaveCountedIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		budget int
		limit  int32
		grace  time.Duration
	}{{0, 40, 8750 * time.Millisecond}, {40, -1, 15 * time.Second}} {
		s := counted(c.budget, fleet.Count{Members: 12, Young: 12, Mine: 1, RoleLimit: c.limit})
		assert.Equal(t, 1, s.Most(start))
		almost := start.Add(c.grace - time.Second)
		s.Counted(fleet.Count{Members: 12, Young: 12, Mine: 1, Age: int32(c.grace/time.Second) - 1, RoleLimit: c.limit}, almost, almost)
		assert.Equal(t, 1, s.Most(almost))
		s.Counted(fleet.Count{Members: 12, Mine: 1, Age: int32(c.grace/time.Second) + 1, RoleLimit: c.limit}, start.Add(c.grace), start.Add(c.grace))
		assert.Greater(t, s.Most(start.Add(c.grace)), 1)
		s.Left()
		assert.Equal(t, 1, s.Most(start.Add(c.grace)), "nobody sees it any more")
		assert.Equal(t, 500*time.Millisecond, s.NextPoll())
	}
	assert.Equal(t, 20, share(40, 1, 1, 0, true)+9, "alone it has more at once")
	assert.Equal(t, 2, share(40, 13, 1, 0, true), "and so has one that comes to twelve")
}

// A count that does not see the one who counts is one too low.
func TestAnEnvironmentThatIsNotSeenCountsItself(t *testing.T) {
	t.Parallel()
	for members := range int32(20) {
		s := counted(0, fleet.Count{Members: members, RoleLimit: 40})
		assert.EqualValues(t, members+1, s.Numbers(start).Environments)
		assert.Equal(t, share(40, int(members)+1, 1, 0, true), s.Most(start.Add(time.Millisecond)), members)
	}
}

// The later a count, the larger the fleet may be.
func TestACountThatIsTooOldShrinksTheShare(t *testing.T) {
	t.Parallel()
	s := counted(0, fleet.Count{Members: 1000, Mine: 4, Age: old, RoleLimit: 5000})
	lease := fleet.Lease(1000)
	assert.Equal(t, 4, s.Most(start.Add(lease)))
	assert.Equal(t, 3, s.Most(start.Add(lease+150*time.Second)))
	assert.Equal(t, 2, s.Most(start.Add(lease+5*time.Minute)), "it may have doubled")
	assert.Equal(t, 1, s.Most(start.Add(24*time.Hour)))

	s = counted(0, fleet.Count{Members: 3, Mine: 4, Age: old, RoleLimit: 40})
	assert.Equal(t, 10, s.Most(start.Add(fleet.Lease(3))))
	assert.Equal(t, 5, s.Most(start.Add(fleet.Lease(3)+6250*time.Millisecond)), "a small fleet doubles sooner")
}

func TestOthersAreRememberedForFiveMinutes(t *testing.T) {
	t.Parallel()
	s := counted(0, fleet.Count{Members: 1, Mine: 1, Age: old, Others: 10, RoleLimit: 50})
	now := start
	see := func(after time.Duration) int {
		for end := now.Add(after); now.Before(end); {
			now = now.Add(time.Second)
			s.Counted(fleet.Count{Members: 1, Mine: 1, Age: old, RoleLimit: 50}, now, now)
		}
		return s.Most(now)
	}
	assert.Equal(t, 20, s.Most(now))
	assert.Equal(t, 20, see(5*time.Minute))
	assert.Equal(t, 22, see(150*time.Second), "half of them are forgotten")
	assert.Equal(t, 25, see(150*time.Second))
}

func TestARefusedDialHalvesTheShare(t *testing.T) {
	t.Parallel()
	c := fleet.Count{Members: 3, Mine: 8, Age: old, RoleLimit: 40}
	s := counted(0, c)
	s.Refused(8, start)
	assert.Equal(t, 4, s.Most(start))
	s.Refused(4, start.Add(4*time.Second))
	assert.Equal(t, 4, s.Most(start.Add(4*time.Second)), "once an interval")
	for want := 5; want <= 10; want++ {
		s.Counted(c, start.Add(5*time.Second), start.Add(5*time.Second))
		assert.Equal(t, want, s.Most(start.Add(5*time.Second)))
	}
	s.Counted(c, start.Add(5*time.Second), start.Add(5*time.Second))
	assert.Equal(t, 10, s.Most(start.Add(5*time.Second)), "whole again")
	s.Refused(1, start.Add(10*time.Second))
	assert.Equal(t, 1, s.Most(start.Add(10*time.Second)))
}

func TestABudgetThatLeavesNoneForOneMoreIsScarce(t *testing.T) {
	t.Parallel()
	for members, want := range map[int32]bool{38: false, 39: false, 40: true, 41: true} {
		assert.Equal(t, want, counted(0, fleet.Count{Members: members, Mine: 1, RoleLimit: 40}).Scarce(start), members)
	}
	assert.True(t, counted(0, fleet.Count{Members: 30, Mine: 1, Others: 10, RoleLimit: 40}).Scarce(start))
	assert.False(t, counted(0, fleet.Count{Members: 30, Mine: 1, Others: 10, RoleLimit: -1}).Scarce(start), "there is no budget")
	assert.False(t, fleet.New(1, half).Scarce(start), "nothing was counted")
}

// Whatever part of the polls is lost, an environment makes no more than one in its interval, and those that it had saved.
func TestPollsAreNoMoreThanTheirRate(t *testing.T) {
	t.Parallel()
	for _, members := range []int32{1, 12, 100, 1000, 5000} {
		every := max(5*time.Second, time.Duration(members)*50*time.Millisecond)
		for lost := 0.0; lost <= 1; lost += 0.1 {
			r := rand.New(rand.NewPCG(1, uint64(10*lost)))
			s := fleet.New(40, r.Float64)
			c := fleet.Count{Members: members, Mine: 1, Age: old, RoleLimit: -1}
			now := start
			s.Counted(c, now, now)
			polls := 0
			for ; polls < 500; polls++ {
				now = now.Add(s.NextPoll())
				if r.Float64() < lost {
					s.Missed(now)
				} else {
					s.Counted(c, now, now)
				}
			}
			allowed := float64(now.Sub(start))/float64(every) + 9
			assert.LessOrEqual(t, float64(polls), allowed, "%d members, %.0f %% lost", members, 100*lost)
			assert.Greater(t, float64(polls), allowed/3)
		}
	}
}

func TestALostPollIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	s := counted(40, fleet.Count{Members: 12, Mine: 1, RoleLimit: -1})
	assert.Equal(t, 7*time.Second, s.NextPoll())
	s.Missed(start.Add(7 * time.Second))
	assert.Equal(t, 390625*time.Microsecond, s.NextPoll())
	s.Missed(start.Add(8 * time.Second))
	assert.Equal(t, 390625*time.Microsecond, s.NextPoll())
	assert.Equal(t, time.Minute*5/4, counted(0, fleet.Count{Members: 12, Mine: 1, RoleLimit: -1}).NextPoll(), "it only looks whether there is a limit")
	assert.Equal(t, 500*time.Millisecond, fleet.New(40, half).NextPoll(), "the first connection is new")
}

// There is room for the first polls of a fleet that begins to double, but not for long after it has grown. While a fleet shrinks, the next poll is sooner.
func TestPollsLeaveRoomForThoseOfNewcomers(t *testing.T) {
	t.Parallel()
	after := func(before, young int32, later time.Duration) time.Duration {
		s := counted(5000, fleet.Count{Members: before, Young: young, Mine: 1, Age: old, RoleLimit: -1})
		now := start.Add(later)
		s.Counted(fleet.Count{Members: 1000, Mine: 1, Age: old, RoleLimit: -1}, now, now)
		return s.NextPoll()
	}
	steady := after(1000, 0, time.Minute)
	assert.Less(t, after(1000, 300, time.Minute), steady*9/10, "it has grown, and does not grow any more")
	assert.Equal(t, steady, after(1000, 300, 9*time.Minute), "it may grow again")
	assert.Equal(t, steady, after(800, 0, time.Minute), "the time follows from the members that are there")
	assert.Less(t, after(1200, 0, time.Minute), steady*9/10, "it shrinks")
}

func TestTheSQLKnowsTheLease(t *testing.T) {
	t.Parallel()
	assert.Contains(t, fleet.SQL, fmt.Sprintf("age < greatest(%g, %g * members)", fleet.Lease(1).Seconds(), fleet.Lease(1000).Seconds()/1000))
}

func TestWhySaysWhereTheShareComesFrom(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "3 of 40: the role's CONNECTION LIMIT is 40, less 2 backends of others, for 11 environments",
		counted(0, fleet.Count{Members: 11, Mine: 1, Age: old, Others: 2, RoleLimit: 40}).Why(start))
	assert.Equal(t, "1 of 12: FleetBudget is 12, less 0 backends of others, for 12 environments: there is none for one more",
		counted(12, fleet.Count{Members: 12, Mine: 1, Age: old, RoleLimit: 100}).Why(start))
	assert.Equal(t, "1 connection until the fleet is counted", fleet.New(40, half).Why(start))
	assert.Equal(t, "no fleet budget: FleetBudget is not set, and the role has no CONNECTION LIMIT", counted(0, fleet.Count{Members: 11, RoleLimit: -1}).Why(start))
}
