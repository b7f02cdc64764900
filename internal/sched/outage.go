package sched

import (
	"cmp"
	"fmt"
	"time"
)

// Lack says that dials fail because the server is full or away. That may pass, so callers get no error at once. The zero value means neither.
type Lack struct {
	Err   error     // the error for callers who have waited long enough; nil if the server is neither full nor away
	Full  bool      // the server takes no more connections; if false, it is away
	Since time.Time // when the first dial began that found the server away
}

// How long a pool rests after a failed dial.
const (
	leastRest   = 50 * time.Millisecond
	leastIfFull = 200 * time.Millisecond
	mostRest    = 128 * leastRest // 6.4 s

	// mostIfBare is the longest rest if the server is full and the pool has no connection. It is shorter than mostRest, so that a place that comes
	// free on the server goes to such a pool, and not to one that has connections.
	mostIfBare = 800 * time.Millisecond
	// mostIfAway is the longest rest if the server is away and the pool has no connection: a refused dial costs little, and everybody waits.
	mostIfAway = 400 * time.Millisecond
)

// AwayPatience is how many times longer a request without a deadline waits for a server that is away than for a full one. After a failover of Aurora
// it takes up to half a minute until the cluster's name leads to the new writer.
const AwayPatience = 3

// forgetFailure is the age from which a failed dial no longer explains why there is no connection.
const forgetFailure = time.Minute

// outage is what is known of the dials that have failed since one succeeded.
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

// failed notes that a dial that began at start failed with err. lacks is what err says of the server. If bare is true, the pool has no connection.
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
	if until.Full { // the next place on the server is for pools that have no connection
		o.notBefore = now.Add(mostIfBare/2 + o.random(mostIfBare/2))
	}
	return until
}

// isResting reports whether no dial may begin yet.
func (o *outage) isResting(now time.Time) bool { return now.Before(o.notBefore) }

// rest returns how long to rest after the last failed dial. The rest doubles with each failure. Half is random, so that a fleet does not dial at once.
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

// hurry shortens a long rest if no connection is left. It is called when somebody begins to wait, and when a connection is lost or closed.
func (o *outage) hurry(stock *stock, now time.Time) {
	if o.failures == 0 || o.lack.Full || !o.notBefore.After(now) || !stock.isBare() {
		return
	}
	if soon := o.at.Add(mostIfAway/2 + o.random(mostIfAway/2)); o.notBefore.After(soon) {
		o.notBefore = soon
	}
}

// mostDials returns how many dials may run at once. It is one while the server is full. It is also one after a failed dial, because those who wait get the
// next dial's error only if no other dial runs. It is two if the dial that began at grewAt takes so long that it may hang.
func (o *outage) mostDials(grewAt, now time.Time) int {
	if o.lack.Full || o.err != nil && o.lack.Err == nil && now.Sub(grewAt) < patience*max(o.took, minDialCost) {
		return 1
	}
	return maxDials
}

// bearable reports whether r goes on waiting although the server is full or away.
func (o *outage) bearable(r *Request, now time.Time) bool {
	enough := o.patience
	if !o.lack.Full {
		enough *= AwayPatience
	}
	return r.bounded || now.Sub(r.Asked) < enough
}

// concerns reports whether r gets the error of the last dial, which began at start. If another dial runs, r waits for that dial too, because it may
// succeed. r waits for no third dial: if two dials take turns, one always runs, and r would never get an error.
func (o *outage) concerns(r *Request, start time.Time, another bool) bool {
	if r.Asked.After(start) { // r came after this dial had begun, and waits for a later one
		return false
	}
	was := r.failed
	r.failed = true
	return was || !another
}

// outOfTime returns err, the error of a ctx that ended while there was no connection. It adds the reason why there was none, if that is known.
func (o *outage) outOfTime(err error, now time.Time) error {
	if why := o.why(now); why != nil {
		return fmt.Errorf("%w: %w", err, why)
	}
	return err
}

// why returns the reason why there is no connection, or nil if it is not known.
func (o *outage) why(now time.Time) error {
	switch {
	case o.lack.Err != nil:
		return o.lack.Err
	case o.err != nil && now.Sub(o.at) < forgetFailure:
		return fmt.Errorf("the last dial failed: %w", o.err)
	}
	return nil
}
