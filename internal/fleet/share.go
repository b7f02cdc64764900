package fleet

import (
	"fmt"
	"math"
	"time"
)

// Unbounded is what [Share.Most] returns when neither a budget nor a limit of the role is known.
const Unbounded = math.MaxInt32

// Share is what one environment knows of the fleet, and what follows for its own connections. It is for one goroutine at a time.
type Share struct {
	budget int // as configured; 0: the role's limit
	polls  polls

	count  Count
	asked  time.Time // when the last count was asked for; zero if there was none since the pool had no connection
	known  bool      // there was a count since New, so count.RoleLimit is known
	others peak
	cap    int       // AIMD's bound after a refused dial; 0 if there is none
	capped time.Time // the last time that cap fell
}

// unanswered is how many polls in a row may be lost before a pool that knows of no budget takes it that there is none. If three of ten are lost, one
// newcomer in 400 takes more than one connection without a count.
const unanswered = 5

// New returns the Share of an environment that has no connection yet. A budget of 0 means the role's own CONNECTION LIMIT, as soon as a count has
// told it. random returns a number of at least 0 and less than 1.
func New(budget int, random func() float64) *Share {
	return &Share{budget: budget, polls: newPolls(random)}
}

// Counted tells of a poll that was answered. asked is the time just before the poll was sent: the count may be as old as that.
func (s *Share) Counted(c Count, asked, now time.Time) {
	if c.Mine == 0 { // others do not see this environment either
		c.Members++
		c.Young++
	}
	s.polls.counted(int(c.Members), int(c.Young), asked, now)
	s.count, s.asked, s.known = c, asked, true
	s.others.saw(int(c.Others), now)
	if s.cap > 0 {
		s.cap++
	}
}

// Missed tells of a poll that failed or took too long.
func (s *Share) Missed(now time.Time) {
	s.polls.missed(now)
}

// Left tells that the pool has no connection any more: it idles, or the server went away. Others cannot see it from now on, so its next connection is a
// newcomer's.
func (s *Share) Left() {
	s.asked, s.cap = time.Time{}, 0
	s.polls.left()
}

// NextPoll returns how long to wait before the next poll. Call it once when the pool has got its first connection, and once after each poll.
func (s *Share) NextPoll() time.Duration {
	budget, _ := s.limit()
	return s.polls.next(budget > 0)
}

// Refused tells of a dial that the server refused because it was full (53300), while the pool had open connections.
func (s *Share) Refused(open int, now time.Time) {
	if b, _ := s.limit(); b == 0 || now.Sub(s.capped) < interval(int(s.count.Members)) {
		return
	}
	s.cap, s.capped = max(1, open/2), now
}

// limit returns the budget, 0 if there is none, and whether the server itself refuses what is above it.
func (s *Share) limit() (budget int, hard bool) {
	role := int(s.count.RoleLimit)
	if !s.known || role < 0 {
		return s.budget, false
	}
	if s.budget == 0 || role <= s.budget {
		return role, true
	}
	return s.budget, false
}

// Most returns how many connections the pool may hold now. It is at least 1, and [Unbounded] if no budget is known. It changes with a count, after a
// refused dial, and when counts fail for long: ask again before each dial, and about once a second whether there are too many.
func (s *Share) Most(now time.Time) int {
	all, hard := s.limit()
	switch {
	case all == 0 && (s.known || s.polls.misses >= unanswered):
		return Unbounded
	case s.asked.IsZero() || all == 0:
		return 1
	}
	n, others := int(s.count.Members), s.others.max(now)
	b := budget{max(0, all-others), others, hard}
	most := b.settled(members(n, now.Sub(s.asked)))
	if time.Duration(s.count.Age)*time.Second+now.Sub(s.asked) < grace(n, hard) {
		most = min(most, b.newcomer(n, int(s.count.Young)))
	}
	if s.cap > 0 {
		most = min(most, s.cap)
	}
	return most
}

// Scarce reports whether the budget leaves no connection for one more environment. Others may then wait for one, which no count shows. So a pool should
// close a connection that is idle for a moment.
func (s *Share) Scarce(now time.Time) bool {
	budget, _ := s.limit()
	return budget > 0 && !s.asked.IsZero() && budget-s.others.max(now) <= int(s.count.Members)
}

// Numbers are for Stat. They are zero while they are not known.
type Numbers struct {
	Budget       int // of all environments together
	Hard         bool
	Environments int // members at the last count
	Others       int // the most backends of the role, not lmipool's, that were seen lately
	Share        int // what Most returned; 0 if there is no bound
}

// Numbers returns what is known now.
func (s *Share) Numbers(now time.Time) Numbers {
	budget, hard := s.limit()
	n := Numbers{Budget: budget, Hard: hard, Environments: int(s.count.Members), Others: s.others.max(now), Share: s.Most(now)}
	if n.Share == Unbounded {
		n.Share = 0
	}
	return n
}

// Why says in one sentence where the share comes from. It is for the log.
func (s *Share) Why(now time.Time) string {
	n := s.Numbers(now)
	from := "FleetBudget"
	if n.Hard {
		from = "the role's CONNECTION LIMIT"
	}
	switch {
	case n.Share == 0:
		return "no fleet budget: FleetBudget is not set, and the role has no CONNECTION LIMIT"
	case s.asked.IsZero():
		return "1 connection until the fleet is counted"
	case s.Scarce(now):
		return fmt.Sprintf("%d of %d: %s is %d, less %d backends of others, for %d environments: there is none for one more", n.Share, n.Budget, from, n.Budget, n.Others, n.Environments)
	}
	return fmt.Sprintf("%d of %d: %s is %d, less %d backends of others, for %d environments", n.Share, n.Budget, from, n.Budget, n.Others, n.Environments)
}
