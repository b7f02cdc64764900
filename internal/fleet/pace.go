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
	// mostSaved is how many polls an environment can save up for retries.
	mostSaved = 8
	// memory is the weight of the last poll in polls.lost.
	memory = 1.0 / 8
	// unboundedInterval is the least time between two polls when no budget is known. They only look whether the role has got a limit.
	unboundedInterval = time.Minute
)

// polls says when to poll. A poll that was answered is followed by the next one after more than the time in which the environment may poll once. So polls
// are saved up, and a lost poll is tried again soon if one is saved.
type polls struct {
	random func() float64

	every  time.Duration // the time in which this environment may poll once; 0 before the first count
	ended  time.Time     // when the last poll ended
	saved  float64       // polls
	misses int           // lost polls since the last count, or since the pool had no connection
	lost   float64       // the fraction of polls that was lost lately
	at     time.Time     // when members was counted; zero if it was not
	count  int           // members at at
}

func newPolls(random func() float64) polls { return polls{random: random, saved: mostSaved} }

// paid takes the poll that has ended now from the polls that were saved up.
func (p *polls) paid(now time.Time) {
	if !p.ended.IsZero() {
		p.saved += float64(now.Sub(p.ended)) / float64(max(p.every, interval(1)))
	}
	p.saved, p.ended = min(mostSaved, p.saved)-1, now
}

// counted takes note of a count of n members, of which young came within the last lease. It was asked for at at, and told at now.
//
// The rate of all polls must not exceed pollsPerSecond while the fleet grows or shrinks. So the time for one poll follows from the members that there will
// be, if the fleet goes on as since the last count, from the polls that are lost, and from those that newcomers make when they come. While the fleet
// shrinks there is room for retries, since most members took the fleet for larger when they last chose their time.
func (p *polls) counted(n, young int, at, now time.Time) {
	p.paid(now)
	expected, ahead, retries := float64(n), 0.75, 1+p.lost
	if n < p.count {
		ahead, retries = 0.9, 1+p.lost/4
	}
	if since := at.Sub(p.at); !p.at.IsZero() && since > 0 {
		expected += float64(n-p.count) / since.Seconds() * interval(n).Seconds() * ahead
		expected = min(2*float64(n), max(float64(n)/2, expected))
	}
	expected *= retries
	newcomers := min(pollsPerSecond/2, 1.5*float64(young)/Lease(n).Seconds())
	p.every = max(interval(1), time.Duration(expected/(pollsPerSecond-newcomers)*float64(time.Second)))
	p.at, p.count, p.misses = at, n, 0
	p.lost -= p.lost * memory
}

// missed takes note of a poll that was lost.
func (p *polls) missed(now time.Time) {
	p.paid(now)
	p.misses++
	p.lost += (1 - p.lost) * memory
}

// left forgets the counts: others do not see this environment any more.
func (p *polls) left() { p.at, p.every, p.misses = time.Time{}, 0, 0 }

// next returns how long to wait before the next poll, of which bounded says that it is for more than to see whether there is a bound.
func (p *polls) next(bounded bool) time.Duration {
	switch {
	case p.at.IsZero() && p.misses == 0:
		return p.jitter(time.Second, 0, 1)
	case p.misses == 0 && !bounded:
		return p.jitter(max(p.every, unboundedInterval), 1, 1.5)
	case p.misses == 0:
		return p.jitter(p.every, 1.3, 1.6)
	case p.saved >= 1:
		slower := float64(min(p.misses, 4)) // if nothing answers, it is not asked all the time
		return p.jitter(max(p.every, interval(1)), 0.06*slower, 0.07*slower)
	}
	return p.jitter(max(p.every, interval(1)), 1, 1.3)
}

// jitter returns d times a random number of at least least and less than most.
func (p *polls) jitter(d time.Duration, least, most float64) time.Duration {
	return time.Duration(float64(d) * (least + p.random()*(most-least)))
}
