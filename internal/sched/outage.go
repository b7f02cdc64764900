package sched

import (
	"cmp"
	"fmt"
	"time"
)

// Lack is why dials get no connection, if that is nobody's error yet: the server is full, or away. A connection may come free, and the next
// dial may go well. The zero value: nothing is lacking.
type Lack struct {
	Err   error // what those get who have waited enough
	Full  bool  // the server takes no more; else it is away
	Since time.Time
}

// How long no dial is tried after one that failed.
const (
	leastRest   = 50 * time.Millisecond
	leastIfFull = 200 * time.Millisecond
	mostRest    = 128 * leastRest // 6.4 s

	// mostIfBare is the longest rest of a pool that was refused and has no connection: its callers wait for the next try. Those that
	// have some leave it what comes free.
	mostIfBare = 800 * time.Millisecond
	// mostIfAway is that of one whose server is away: a dial that is refused costs little, and everybody waits for the first that is not.
	mostIfAway = 400 * time.Millisecond
)

// AwayPatience is how many times longer than for a full server one waits without a deadline for one that is away: in Aurora a new
// writer has its name within half a minute.
const AwayPatience = 3

// forgetFailure is when the last failed dial says nothing any more of why there is no connection.
const forgetFailure = time.Minute

// outage is what dials that failed have come to, since one went well.
type outage struct {
	patience time.Duration                     // how long to wait for a full server without a deadline
	random   func(time.Duration) time.Duration // less than that

	notBefore time.Time // no dial before this: back-off after a failed one
	failures  int       // dials that failed in a row

	// of the last one
	lack Lack
	err  error
	at   time.Time
	took time.Duration
}

// failed notes that a dial that began at start failed with err, which comes to lacks. bare: there is no connection.
func (o *outage) failed(err error, lacks Lack, bare bool, start, now time.Time) {
	o.failures++
	o.err, o.at, o.took = err, now, now.Sub(start)
	if lacks.Err != nil && !lacks.Full {
		lacks.Since = cmp.Or(o.lack.Since, start)
	}
	o.lack = lacks
	o.notBefore = now.Add(o.rest(bare))
}

// over notes that a dial went well, and returns what was lacking until then.
func (o *outage) over(now time.Time) (until Lack) {
	until = o.lack
	o.failures, o.lack, o.err, o.notBefore = 0, Lack{}, nil, time.Time{}
	if until.Full { // others may have none: one more, and a look at how far it goes
		o.notBefore = now.Add(mostIfBare/2 + o.random(mostIfBare/2))
	}
	return until
}

// isResting reports whether no dial is to begin yet.
func (o *outage) isResting(now time.Time) bool { return now.Before(o.notBefore) }

// rest is how long to rest after the last failed dial: it doubles with each, and half of it is at random, so that the environments of
// a fleet do not all come back at once.
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

// hurry is called when somebody waits, or a connection is gone. A longer rest is for those who have a connection: with the last one it ends.
func (o *outage) hurry(stock *stock, now time.Time) {
	if o.failures == 0 || o.lack.Full || !o.notBefore.After(now) || !stock.isBare() {
		return
	}
	if soon := o.at.Add(mostIfAway/2 + o.random(mostIfAway/2)); o.notBefore.After(soon) {
		o.notBefore = soon
	}
}

// mostDials is how many dials run at once. None is to begin beside another while the server is full; nor, so that those who wait hear
// of that one, after one that failed, if the one that began at grewAt does not take much longer than that.
func (o *outage) mostDials(grewAt, now time.Time) int {
	if o.lack.Full || o.err != nil && o.lack.Err == nil && now.Sub(grewAt) < patience*max(o.took, minDialCost) {
		return 1
	}
	return maxDials
}

// bearable reports whether r waits on for what is lacking, without a connection.
func (o *outage) bearable(r *Request, now time.Time) bool {
	enough := o.patience
	if !o.lack.Full {
		enough *= AwayPatience
	}
	return r.bounded || now.Sub(r.Asked) < enough
}

// concerns reports whether the error of the last dial, which began at start, is r's too. Beside another dial, which may go
// well, r waits for that one too, and then for no other: of two that take turns one is always under way.
func (o *outage) concerns(r *Request, start time.Time, another bool) bool {
	if r.Asked.After(start) { // it gets a dial that begins later
		return false
	}
	was := r.failed
	r.failed = true
	return was || !another
}

// outOfTime is why somebody without a connection to wait for left whose ctx has ended with err: also why there is none.
func (o *outage) outOfTime(err error, now time.Time) error {
	switch {
	case o.lack.Err != nil:
		return fmt.Errorf("%w: %w", err, o.lack.Err)
	case o.err != nil && now.Sub(o.at) < forgetFailure:
		return fmt.Errorf("%w; the last dial failed: %w", err, o.err)
	}
	return err
}
