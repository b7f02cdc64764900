package fleet

import "time"

// interval returns the time in which each of n environments may poll once, so that all together poll at most pollsPerSecond times.
func interval(n int) time.Duration {
	return max(5*time.Second, time.Duration(n)*time.Second/pollsPerSecond)
}

// Lease returns how long a count of n members is good for. It is also how long a newcomer is one: after it each other member has counted it, or knows that
// its own count is too old.
func Lease(n int) time.Duration { return interval(n) * 7 / 4 }

const (
	// pollsPerSecond is how often all environments together may poll.
	pollsPerSecond = 20
	// planned is pollsPerSecond times 1.4, the mean of the jitter of the time between two polls, less a fifth: in some 30 s there are more polls than on
	// average.
	planned = 23
	// mostSaved is how many polls an environment can save up for retries.
	mostSaved = 8
	// memory is the weight of the last poll in polls.lost, and firstLost is polls.lost before the first poll.
	memory, firstLost = 1.0 / 8, 0.25
	// settles is how long after it has grown a fleet is taken for one that does not grow again: the old version of a deployment leaves by then.
	settles = 8 * time.Minute
	// unboundedInterval is the least time between two polls when no budget is known. They only look whether the role has got a limit.
	unboundedInterval = time.Minute
)

// polls says when to poll. A poll that was answered is followed by the next one after more than the time in which the environment may poll once. So polls
// are saved up, and a lost poll is tried again soon if one is saved, and if not too many were lost in a row.
type polls struct {
	random func() float64

	every  time.Duration // the time in which this environment may poll once; 0 before the first count
	ended  time.Time     // when the last poll ended
	saved  float64       // polls
	misses int           // lost polls since the last count, or since the pool had no connection
	lost   float64       // the fraction of polls that was lost lately
	grew   time.Time     // when a count last saw that the fleet had grown by a quarter within a lease
	at     time.Time     // when members was counted; zero if it was not
	before int           // members at at; 0 if they were not counted
	count  int           // members at the last count
}

func newPolls(random func() float64) polls {
	return polls{random: random, saved: mostSaved, lost: firstLost}
}

// paid takes the poll that has ended now from the polls that were saved up.
func (p *polls) paid(now time.Time) {
	if !p.ended.IsZero() {
		p.saved += float64(now.Sub(p.ended)) / float64(interval(p.count))
	}
	p.saved, p.ended = min(mostSaved, p.saved)-1, now
}

// counted takes note of a count of n members, of which young came within the last lease. It was asked for at at, and told at now.
//
// The rate of all polls must not exceed pollsPerSecond while the fleet grows or shrinks, and while polls are lost. So the time for one poll follows from
// the polls that are lost, and leaves room for the first polls of newcomers: of those that come, or would if the fleet began to double. While the fleet
// shrinks, the time gets shorter little by little: if it fell at once, polls of the longer time and of the shorter one would come together.
func (p *polls) counted(n, young int, at, now time.Time) {
	p.count = n
	p.paid(now)
	come := float64(young) / Lease(n).Seconds()
	if 5*young > n {
		p.grew = at
	}
	if p.grew.IsZero() || at.Sub(p.grew) > settles {
		come = max(come, float64(n-young)/doubling.Seconds())
	}
	tries := 1 + 1.5*p.lost
	newcomers := min(planned/3, planned/pollsPerSecond*1.2*tries*come)
	members := float64(n)
	if since := at.Sub(p.at); n < p.before && since > 0 {
		members = max(members/2, members-float64(p.before-n)*interval(n).Seconds()/since.Seconds())
	}
	p.every = max(interval(1), time.Duration(members*tries/(planned-newcomers)*float64(time.Second)))
	for range min(p.misses, 4) { // a server that stood still is not one that loses polls
		p.lost += (1 - p.lost) * memory
	}
	p.lost -= p.lost * memory
	p.at, p.before, p.misses = at, n, 0
}

// missed takes note of a poll that was lost.
func (p *polls) missed(now time.Time) {
	p.paid(now)
	p.misses++
}

// left forgets the counts: others do not see this environment any more.
func (p *polls) left() { p.at, p.before, p.every, p.misses = time.Time{}, 0, 0, 0 }

// next returns how long to wait before the next poll, of which bounded says that it is for more than to see whether there is a bound.
func (p *polls) next(bounded bool) time.Duration {
	switch {
	case p.at.IsZero() && p.misses == 0:
		return p.jitter(time.Second, 0, 1)
	case p.misses == 0 && !bounded:
		return p.jitter(max(p.every, unboundedInterval), 1, 1.5)
	case p.misses == 0:
		return p.jitter(p.every, 1.3, 1.5)
	case p.saved >= 1 && float64(p.misses) <= 4+30*p.lost: // more lost polls in a row than usual mean that nothing answers
		return p.jitter(min(time.Second, max(p.every, interval(1))/16), 1, 1.5)
	}
	return p.jitter(max(p.every, interval(1)), 1, 1.3)
}

// jitter returns d times a random number of at least least and less than most.
func (p *polls) jitter(d time.Duration, least, most float64) time.Duration {
	return time.Duration(float64(d) * (least + p.random()*(most-least)))
}
