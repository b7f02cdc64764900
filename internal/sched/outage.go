package sched

import (
	"cmp"
	"fmt"
	"time"
)

// Lack says that dials fail because the server is full or away. That may pass, so nobody gets an error at once. The zero value: neither is the case.
type Lack struct {
	Err   error     // what those get who have waited long enough; nil: nothing is lacking
	Full  bool      // the server takes no more connections; else it is away
	Since time.Time // when the first dial began that found it away
}

// How long a pool rests after a failed dial.
const (
	leastRest   = 50 * time.Millisecond
	leastIfFull = 200 * time.Millisecond
	mostRest    = 128 * leastRest // 6.4 s

	// mostIfBare is the longest rest if the server is full and the pool has no connection. It is shorter than that of pools that have some, so that
	// this one gets what comes free.
	mostIfBare = 800 * time.Millisecond
	// mostIfAway is the longest rest if the server is away: a refused dial costs little, and everybody waits for the first that succeeds.
	mostIfAway = 400 * time.Millisecond
)

// AwayPatience is how many times longer a request without a deadline waits for a server that is away than for a full one: in Aurora a new writer has
// its name within half a minute.
const AwayPatience = 3

// forgetFailure is the age from which a failed dial no longer explains why there is no connection.
const forgetFailure = time.Minute

// outage is what is known of the dials that have failed since the last success.
type outage struct {
	patience time.Duration                     // Config.Patience
	random   func(time.Duration) time.Duration // Config.Random

	notBefore time.Time // when the rest after the last failed dial ends
	failures  int       // in a row

	// What is known of the last failed dial.
	lack Lack
	err  error
	at   time.Time // when it failed
	took time.Duration
}

// failed notes that a dial that began at start failed with err, which means lacks. With bare, there is no connection.
func (o *outage) failed(err error, lacks Lack, bare bool, start, now time.Time) {
	o.failures++
	o.err, o.at, o.took = err, now, now.Sub(start)
	if lacks.Err != nil && !lacks.Full {
		lacks.Since = cmp.Or(o.lack.Since, start)
	}
	o.lack = lacks
	o.notBefore = now.Add(o.rest(bare))
}

// over notes that a dial succeeded, and returns what was lacking until then.
func (o *outage) over(now time.Time) (until Lack) {
	until = o.lack
	o.failures, o.lack, o.err, o.notBefore = 0, Lack{}, nil, time.Time{}
	if until.Full { // leave what comes free next to the pools that have no connection
		o.notBefore = now.Add(mostIfBare/2 + o.random(mostIfBare/2))
	}
	return until
}

// isResting reports whether no dial may begin yet.
func (o *outage) isResting(now time.Time) bool { return now.Before(o.notBefore) }

// rest is how long to rest after the last failed dial. It doubles with each failure, and half of it is random, so that the environments of a fleet do
// not all dial at once.
func (o *outage) rest(bare bool) time.Duration {
	least, most := leastRest, mostRest
	switch {
	case o.lack.Full && bare:
		least, most = leastIfFull, mostIfBare
	case o.lack.Full:
		least = leastIfFull
	case o.lack.Err != nil && bare:
		most = mostIfAway
	}
	long := min(least<<min(o.failures-1, 7), most)
	return long/2 + o.random(long/2)
}

// hurry shortens a long rest if no connection is left. It is called when somebody begins to wait, and when a connection goes.
func (o *outage) hurry(stock *stock, now time.Time) {
	if o.failures == 0 || o.lack.Full || !o.notBefore.After(now) || !stock.isBare() {
		return
	}
	if soon := o.at.Add(mostIfAway/2 + o.random(mostIfAway/2)); o.notBefore.After(soon) {
		o.notBefore = soon
	}
}

// mostDials is how many dials may run at once. It is one while the server is full. It is also one after a failed dial, so that those who wait hear of
// the next dial's end, unless that dial, begun at grewAt, already takes much longer than the failed one took.
func (o *outage) mostDials(grewAt, now time.Time) int {
	if o.lack.Full || o.err != nil && o.lack.Err == nil && now.Sub(grewAt) < patience*max(o.took, minDialCost) {
		return 1
	}
	return maxDials
}

// bearable reports whether r goes on waiting for what is lacking.
func (o *outage) bearable(r *Request, now time.Time) bool {
	enough := o.patience
	if !o.lack.Full {
		enough *= AwayPatience
	}
	return r.bounded || now.Sub(r.Asked) < enough
}

// concerns reports whether r gets the error of the last dial, which began at start. If another dial runs, r waits for that one too, because it may
// succeed. It waits for no third one: if two dials alternate, one of them always runs.
func (o *outage) concerns(r *Request, start time.Time, another bool) bool {
	if r.Asked.After(start) { // a later dial is its own
		return false
	}
	was := r.failed
	r.failed = true
	return was || !another
}

// outOfTime returns err, with which a ctx ended while there was no connection, together with the reason why there was none.
func (o *outage) outOfTime(err error, now time.Time) error {
	if why := o.why(now); why != nil {
		return fmt.Errorf("%w: %w", err, why)
	}
	return err
}

// why returns the reason why there is no connection; nil: none is known.
func (o *outage) why(now time.Time) error {
	switch {
	case o.lack.Err != nil:
		return o.lack.Err
	case o.err != nil && now.Sub(o.at) < forgetFailure:
		return fmt.Errorf("the last dial failed: %w", o.err)
	}
	return nil
}
