package sched

import "time"

const (
	// leastShort is how long a queue may take to drain and still count as short, whatever else. A shorter queue would run empty between two arrivals.
	leastShort = 10 * time.Millisecond
	// A queue also counts as short if it drains in a shortPart-th of a caller's own time: a caller with a minute left need not fear a queue of 50 ms.
	shortPart = 4
	// A request is in danger when it has used dangerPart fourths of its slack. With two, a burst of 300 that 16 connections would answer in time loses
	// 7 %, with three 5 %; with four, heavy statements nobody knew to be heavy are cancelled in flight.
	dangerPart = 3
	// Of the requests that are expected to take longer than they have left, each tryHopeless-th is queued all the same. If none were, a wrong
	// expectation would never be corrected.
	tryHopeless = 8
)

// NoTimeError refuses a request that would not end in time, or for which there is no room in the queue.
type NoTimeError struct {
	Why     string        // the reason for the refusal
	Queued  int           // how many other requests waited
	Wait    time.Duration // how long the present connections take for those
	Service time.Duration // how long the request would hold its connection; 0 if that is not known
	Left    time.Duration // the time until the request's deadline, or the end of MaxWait; 0 if it has neither
	Outage  error         // why there was no connection; nil if there was one, or the reason is not known
}

func (e *NoTimeError) Error() string { return e.Why }

// The reasons for a NoTimeError.
const (
	whyLate    = "not enough time is left"
	whyMaxWait = "MaxWait is over"
	whyFull    = "as many callers wait as MaxQueue lets"
	whyShort   = "the queue is kept short, since callers who wait run out of time"
)

// Traits are what is known of a request that begins to wait.
type Traits struct {
	Expect time.Duration // how long the server is expected to take for the request; 0 if that is not known
	Holds  bool          // whether the caller holds a connection; if so, the request goes first, since others wait for that connection
	Key    string        // who shares the request's part of the connections, for Config.Fair
}

// forgets clears what a knows of the request that used it before. due is the due of the request that uses a next.
func (a *answer) forgets(due time.Time) { a.Traits, a.times = Traits{}, times{due: due} }

// times are the deadlines of a waiting request, and its account. Like Traits they are in its answer: a request that need not wait has no answer.
type times struct {
	due     time.Time // the ctx's deadline, or the end of MaxWait; zero if there is neither
	latest  time.Time // the latest start: from then on the request gets no connection; zero if there is no such time
	account *account  // the account of Traits.Key; nil if Config.Fair is not set
	danger  time.Time // when the request will have waited for dangerPart fourths of the time until latest
}

// admission decides who may wait, for how long, and who is next.
type admission struct {
	service  average // the average of the turns whose statements were answered
	hopeless int     // how many requests had less time left than they were expected to take

	// pressed says that there is pressure. Then the queue is kept short, so that callers who cannot be served hear of it at once. While the head is
	// in danger the newest request is served first. The newest still has all of its time, so its answer comes in time; those who have waited long
	// would get theirs too late.
	pressed bool
}

// expects returns how long r is expected to hold its connection. slack is the time until r's deadline: the average of other requests counts for at
// most half of it, since r may be shorter than they are.
func (k *core) expects(r *Request, slack time.Duration) time.Duration {
	others := min(k.admission.service.d, max(slack/2, 0))
	switch {
	case !r.bounded: // MaxWait bounds the wait, and not the statement after it
		return 0
	case r.Share != nil:
		return r.Share.Cost() + others
	case r.answer.Expect > 0:
		return k.cost(r)
	}
	return others
}

// cost returns how long r, which does not share, is expected to hold its connection. Unlike expects it does not look at r's deadline.
func (k *core) cost(r *Request) time.Duration {
	if r.answer != nil && r.answer.Expect > 0 {
		return r.answer.Expect + k.growth.leastHold.d
	}
	return k.admission.service.d
}

// bound sets the latest start of r, which begins to wait. While there is no connection the latest start is r's deadline, since nobody knows when a
// connection will come.
func (k *core) bound(r *Request, now time.Time) {
	t := &r.answer.times
	if k.cfg.Fair {
		t.account = k.fairness.see(r.answer.Key, now)
	}
	if t.latest = t.due; t.due.IsZero() {
		return
	}
	slack := t.due.Sub(now)
	defer func() { t.danger = now.Add(t.latest.Sub(now) * dangerPart / 4) }()
	if expect := k.expects(r, slack); expect > 0 && !k.stock.isBare() {
		if expect > slack {
			k.admission.hopeless++
			if k.admission.hopeless%tryHopeless == 0 {
				return
			}
		}
		t.latest = t.due.Add(-expect)
	}
}

// Latest returns the latest start of r, which waits: from then on TooLate refuses r. It returns the zero time if r may wait for ever.
func (r *Request) Latest() time.Time { return r.answer.latest }

// isLate reports whether r's latest start has passed.
func (r *Request) isLate(now time.Time) bool {
	return r.answer != nil && !r.answer.latest.IsZero() && !now.Before(r.answer.latest)
}

// press begins pressure, unless nobody waits. Without a connection it does nothing either, since nobody can say then how much time is enough.
func (k *core) press() {
	if !k.admission.pressed && k.queue.len > 0 && !k.stock.isBare() {
		k.admission.pressed = true
		k.fairness.begins()
	}
}

// watch begins pressure if the head of the queue is in danger, and ends it if the queue is empty.
func (k *core) watch(now time.Time) {
	if r := k.queue.head; r == nil {
		k.admission.pressed = false
	} else if r.isInDanger(now) {
		k.press()
	}
}

// isInDanger reports whether r, which waits, has waited for dangerPart fourths of the time until its latest start.
func (r *Request) isInDanger(now time.Time) bool {
	return r.bounded && !now.Before(r.answer.danger)
}

// isPressed reports whether there is pressure now.
func (k *core) isPressed() bool { return k.admission.pressed && k.queue.len > 0 }

// admits reports whether r may wait. If r goes to the front of the queue, it may as long as it has time. Without a deadline it may under any
// pressure, as long as the queue has fewer than MaxQueue requests.
func (k *core) admits(r *Request, first bool, now time.Time) bool {
	k.watch(now)
	switch {
	case r.isLate(now):
		return false
	case first || r.answer.Holds:
		return true
	case k.cfg.MaxQueue > 0 && k.queue.len >= k.cfg.MaxQueue:
		return false
	}
	short := max(2*k.admission.service.d, leastShort, r.answer.latest.Sub(now)/shortPart)
	return !r.bounded || !k.admission.pressed || k.stock.isBare() || k.drains(k.queue.turns()+1) <= short || k.cfg.Fair && k.makeRoom(r, now)
}

// turn returns the request that is served next, or nil if nobody waits. That is the oldest; under pressure, with Config.Fair, the oldest of the key
// that has had least. While the head of the queue is in danger it is the newest instead.
func (k *core) turn(now time.Time) *Request {
	k.watch(now)
	r := k.queue.head
	switch {
	case !k.admission.pressed || r.ahead || !r.bounded:
		return r
	case r.isInDanger(now):
		return k.ofLeast(k.queue.tail, (*Request).older)
	}
	return k.ofLeast(r, (*Request).newer)
}

// noTime returns the error that refuses r.
func (k *core) noTime(r *Request, now time.Time) *NoTimeError {
	e := &NoTimeError{Why: whyShort, Queued: k.queue.len, Wait: k.drains(k.queue.turns())}
	if due := r.answer.due; !due.IsZero() {
		e.Left, e.Service = max(0, due.Sub(now)), due.Sub(r.answer.latest)
	}
	switch {
	case r.isLate(now) && r.bounded:
		e.Why = whyLate
	case r.isLate(now):
		e.Why = whyMaxWait
	case k.cfg.MaxQueue > 0 && k.queue.len >= k.cfg.MaxQueue:
		e.Why = whyFull
	}
	if k.stock.isBare() {
		e.Outage = k.outage.why(now)
	}
	return e
}

// drains returns how long the present connections take for so many turns.
func (k *core) drains(turns int) time.Duration {
	return time.Duration(turns) * k.admission.service.d / time.Duration(max(1, k.stock.usable()))
}
