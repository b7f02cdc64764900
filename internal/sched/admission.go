package sched

import "time"

const (
	// leastShort is the least that a short queue may take. A shorter one would run empty between two arrivals.
	leastShort = 10 * time.Millisecond
	// shortPart is the part of a caller's own time that a short queue may take. One that has a minute left is not refused because of a queue of 50 ms.
	shortPart = 8
	// A request is in danger when it has used dangerPart fourths of its slack. With two, a burst of 300 that 16 connections would answer in time loses
	// 7 %, with three 5 %; with four, heavy statements nobody knew to be heavy are cancelled in flight.
	dangerPart = 3
	// tryHopeless is every how manieth request is queued though its text is expected to take longer than it has left: a wrong expectation would
	// otherwise never be corrected.
	tryHopeless = 8
)

// NoTimeError refuses a request that would not end in time, or for which there is no room in the queue.
type NoTimeError struct {
	Queued  int           // how many others waited
	Wait    time.Duration // how long those take on the connections that there are
	Service time.Duration // how long the request would hold its connection
	Left    time.Duration // until its deadline, or the end of MaxWait; 0: neither
	Outage  error         // why there was no connection; nil: there was one, or the reason is not known
}

func (*NoTimeError) Error() string { return "there is not enough time left" }

// Traits are what is known of a request that begins to wait.
type Traits struct {
	Expect time.Duration // how long the server is expected to take for it; 0: not known
	Holds  bool          // its caller holds a connection, which others wait for: it goes first
	Key    string        // whose it is, for Config.Fair
}

// forgets what a had of another request. due is that of the next one.
func (a *answer) forgets(due time.Time) { a.Traits, a.times = Traits{}, times{due: due} }

// times belong to a request that waits. Like Traits they are in its answer, which only those who wait have.
type times struct {
	due     time.Time // its ctx's deadline, or the end of MaxWait; zero: neither
	latest  time.Time // it is lent no connection from then on; zero: for ever
	account *account  // of Traits.Key; nil: Config.Fair is not set
	danger  time.Time // when it has used most of the time until then
}

// admission decides who may wait, for how long, and who is next.
type admission struct {
	service  average // of the turns of connections whose statement was answered
	hopeless int     // how many had less time left than their text is expected to take

	// pressed: somebody who waited was in danger, was refused, or was given up in flight, and the queue was not empty since. Then the queue is kept
	// short, so that those who cannot be served hear of it at once. While its head is in danger the newest is served first: it still has all of its
	// time, so what it is lent is not wasted, while those who have waited long would end too late.
	pressed bool
}

// expects returns how long r is expected to hold its connection, if it has slack until its deadline. What is known only of other requests counts for
// at most half of the slack: r may be a short one.
func (k *core) expects(r *Request, slack time.Duration) time.Duration {
	others := min(k.admission.service.d, max(slack/2, 0))
	switch {
	case !r.bounded: // MaxWait bounds the wait alone
		return 0
	case r.Share != nil:
		return r.Share.Cost() + others
	case r.answer.Expect > 0:
		return k.cost(r)
	}
	return others
}

// cost returns how long r, which does not share, is expected to hold its connection, whatever time it has.
func (k *core) cost(r *Request) time.Duration {
	if r.answer != nil && r.answer.Expect > 0 {
		return r.answer.Expect + k.growth.leastHold.d
	}
	return k.admission.service.d
}

// bound sets the latest start of r, which begins to wait: later it gets no connection. While there is no connection it is r's deadline, since nothing
// is known of what will come.
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

// Latest is until when r, which waits, may be lent a connection; zero: for ever. From then on TooLate refuses it.
func (r *Request) Latest() time.Time { return r.answer.latest }

// isLate reports whether r's latest start has passed.
func (r *Request) isLate(now time.Time) bool {
	return r.answer != nil && !r.answer.latest.IsZero() && !now.Before(r.answer.latest)
}

// press begins pressure, unless nobody waits or there is no connection: then nobody can say what time is enough.
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

// isInDanger reports whether r, which waits, has used most of the time until its latest start.
func (r *Request) isInDanger(now time.Time) bool {
	return r.bounded && !now.Before(r.answer.danger)
}

// isPressed reports whether there is pressure now.
func (k *core) isPressed() bool { return k.admission.pressed && k.queue.len > 0 }

// admits reports whether r may wait. Those whose turn comes first may, if they have time. Those without a deadline may whatever the pressure.
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

// turn returns the request that is served next; nil: none. It is the oldest, of the key that has had least if there is pressure and keys count. While
// the head is in danger it is the newest.
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
	e := &NoTimeError{Queued: k.queue.len, Wait: k.drains(k.queue.turns())}
	if due := r.answer.due; !due.IsZero() {
		e.Left = due.Sub(now)
	}
	e.Service = k.expects(r, e.Left)
	if k.stock.isBare() {
		e.Outage = k.outage.why(now)
	}
	return e
}

// drains returns how long the connections that there are take for so many turns.
func (k *core) drains(turns int) time.Duration {
	return time.Duration(turns) * k.admission.service.d / time.Duration(max(1, k.stock.usable()))
}
