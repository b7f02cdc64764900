package pool

import (
	"math/rand/v2"
	"time"
)

// lack is why dials get no connection, if that is nobody's error yet: the server is full,
// or away. The zero value: nothing is lacking.
//
// Who waits then goes on waiting, until its own deadline: a connection may come free, and
// the next dial may go well. Without a deadline it waits for patience and no longer.
type lack struct {
	err   error // has ErrServerFull or ErrServerAway, and the last dial's
	full  bool
	since time.Time
}

// How long no dial is tried after one that failed.
const (
	leastRest   = 50 * time.Millisecond
	leastIfFull = 200 * time.Millisecond
	mostRest    = 128 * leastRest // 6.4 s

	// mostIfBare is the longest rest of a pool that was refused and has no connection:
	// its callers wait for the next try. Those that have some leave it what comes free.
	mostIfBare = 800 * time.Millisecond

	// mostIfAway is that of one whose server is away: a dial that is refused costs little,
	// and everybody waits for the first that is not.
	mostIfAway = 400 * time.Millisecond
)

// awayPatience is how much longer than for a full server one waits without a deadline for
// one that is away: in Aurora a new writer has its name within half a minute.
const awayPatience = 3

// isKnown reports whether a dial's failure that comes to l says nothing new.
func (a *admission) isKnown(l lack) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return l.err != nil && a.lack.err != nil && a.lack.full == l.full
}

// restLocked is how long to rest after the last failed dial: it doubles with each, and half
// of it is at random, so that the environments of a fleet do not all come back at once.
func (a *admission) restLocked() time.Duration {
	least, most := leastRest, mostRest
	bare := a.bareLocked()
	switch {
	case a.lack.full && bare:
		least, most = leastIfFull, mostIfBare
	case a.lack.full:
		least = leastIfFull
	case a.lack.err != nil && bare:
		most = mostIfAway
	}
	rest := min(least<<min(a.failures-1, 7), most)
	return rest/2 + rand.N(rest/2)
}

// parkLocked has those who wait wait on.
func (a *admission) parkLocked(now time.Time) {
	patience := a.patience
	if a.lack.full {
		a.counts.refusedDials++
	} else {
		patience *= awayPatience
	}
	a.limit = max(1, len(a.conns)+a.dialing) // the growth rule decides anew
	if !a.bareLocked() {
		return
	}
	// Also beside another dial: of two that take turns one is always under way.
	for w := a.queue.head; w != nil; {
		next := w.next
		if !w.bounded && now.Sub(w.arrived) >= patience {
			a.queue.remove(w)
			w.ready <- grant{err: a.lack.err}
		}
		w = next
	}
}

// failedDials is how many dials have failed in a row.
func (a *admission) failedDials() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failures
}

// bareLocked reports whether there is no connection that anybody could get.
func (a *admission) bareLocked() bool {
	for c := range a.conns {
		if !c.fenced.Load() && !c.leaving {
			return false
		}
	}
	return true
}

// hurryLocked is called when somebody waits, or a connection is gone. A longer rest is for those who have a connection:
// with the last one it ends.
func (a *admission) hurryLocked(now time.Time) {
	if a.failures == 0 || a.lack.full || !a.notBefore.After(now) || !a.bareLocked() {
		return
	}
	if soon := a.failure.at.Add(mostIfAway/2 + rand.N(mostIfAway/2)); a.notBefore.After(soon) {
		a.notBefore = soon
	}
}
