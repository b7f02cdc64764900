package fleet

import "time"

// interval returns the time in which each of n environments may poll once, so that all together poll at most 20 times a second.
func interval(n int) time.Duration { return max(5*time.Second, time.Duration(n)*50*time.Millisecond) }

// Lease returns how long a count of n members is good for. It is also how long a newcomer is one: after it each other member has counted it, or knows that
// its own count is too old.
func Lease(n int) time.Duration { return interval(n) * 5 / 2 }

const (
	// saved is how many polls an environment can save up for retries.
	saved = 3
	// unboundedInterval is the time between two polls when no budget is known. They only look whether the role has got a limit.
	unboundedInterval = time.Minute
)

// paid takes the poll that has ended now from the polls that were saved up.
func (s *Share) paid(now time.Time) {
	if !s.polled.IsZero() {
		s.tokens += float64(now.Sub(s.polled)) / float64(interval(int(s.count.Members)))
	}
	s.tokens, s.polled = min(saved, s.tokens)-1, now
}

// NextPoll returns how long to wait before the next poll. Call it once when the pool has got its first connection, and once after each poll. A poll that
// was answered is followed by the next after a bit more than an interval, so polls are saved up; a lost one is soon tried again if one is saved.
func (s *Share) NextPoll() time.Duration {
	every := interval(int(s.count.Members))
	switch budget, _ := s.limit(); {
	case s.asked.IsZero() && s.misses == 0:
		return s.jitter(time.Second, 0, 1)
	case budget == 0 && s.known:
		return s.jitter(max(every, unboundedInterval), 1, 1.5)
	case s.misses == 0:
		return s.jitter(every, 1.2, 1.5)
	case s.tokens >= 1:
		return s.jitter(every, 0.2, 0.3)
	}
	return s.jitter(every, 1, 1.3)
}

// jitter returns d times a random number of at least least and less than most.
func (s *Share) jitter(d time.Duration, least, most float64) time.Duration {
	return time.Duration(float64(d) * (least + s.random()*(most-least)))
}
