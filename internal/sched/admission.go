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
	// Of the requests that are expected to take longer than they have left, each tryHopeless-th is queued, so that a wrong expectation is corrected.
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

// Reason returns e's reason in a word or two.
func (e *NoTimeError) Reason() string {
	return map[string]string{whyLate: "late", whyMaxWait: "max wait", whyFull: "full", whyShort: "pressure"}[e.Why]
}

// The reasons for a NoTimeError.
const (
	whyLate    = "not enough time is left"
	whyMaxWait = "MaxWait is over"
	whyFull    = "as many callers wait as MaxQueue lets"
	whyShort   = "the queue is kept short, since callers who wait run out of time"
)

// admission decides who may wait, for how long, and who is next.
type admission struct {
	maxQueue int  // Config.MaxQueue
	fair     bool // Config.Fair

	// What admission looks at and does not change.
	queue     *queue
	stock     *stock
	outage    *outage
	leastHold *least

	fairness fairness

	service  average // the average of the turns whose statements were answered
	hopeless int     // how many requests had less time left than they were expected to take

	// pressed says that there is pressure. Then the queue is kept short, so that callers who cannot be served hear of it at once. While the head is in
	// danger the newest request is served first. It still has all of its time; those who have waited long would get their answers too late.
	pressed bool
}

// expects returns how long r is expected to hold its connection. slack is the time until r's deadline: the average of other requests counts for at
// most half of it, since r may be shorter than they are.
func (m *admission) expects(r *Request, slack time.Duration) time.Duration {
	others := min(m.service.d, max(slack/2, 0))
	switch {
	case !r.bounded: // MaxWait bounds the wait, and not the statement after it
		return 0
	case r.Share != nil:
		return r.Share.Cost() + others
	case r.answer.Expect > 0:
		return m.cost(r)
	}
	return others
}

// cost returns how long r, which does not share, is expected to hold its connection. Unlike expects it does not look at r's deadline.
func (m *admission) cost(r *Request) time.Duration {
	if r.answer != nil && r.answer.Expect > 0 {
		return r.answer.Expect + m.leastHold.d
	}
	return m.service.d
}

// bound sets the latest start of r, which begins to wait. While there is no connection it is r's deadline, since nobody knows when one will come.
func (m *admission) bound(r *Request, now time.Time) {
	t := &r.answer.times
	if m.fair {
		t.account = m.fairness.see(r.answer.Key, now)
	}
	if t.latest = t.due; t.due.IsZero() {
		return
	}
	slack := t.due.Sub(now)
	defer func() { t.danger = now.Add(t.latest.Sub(now) * dangerPart / 4) }()
	if expect := m.expects(r, slack); expect > 0 && !m.stock.isBare() {
		if expect > slack {
			m.hopeless++
			if m.hopeless%tryHopeless == 0 {
				return
			}
		}
		t.latest = t.due.Add(-expect)
	}
}

// press begins pressure, unless nobody waits. Without a connection it does nothing either, since nobody can say then how much time is enough.
func (m *admission) press() {
	if !m.pressed && m.queue.len > 0 && !m.stock.isBare() {
		m.pressed = true
		m.fairness.begins()
	}
}

// watch begins pressure if the head of the queue is in danger, and ends it if the queue is empty.
func (m *admission) watch(now time.Time) {
	if r := m.queue.head; r == nil {
		m.pressed = false
	} else if r.isInDanger(now) {
		m.press()
	}
}

// isInDanger reports whether r, which waits, has waited for dangerPart fourths of the time until its latest start.
func (r *Request) isInDanger(now time.Time) bool {
	return r.bounded && !now.Before(r.answer.danger)
}

// isFull reports whether as many requests wait as MaxQueue lets.
func (m *admission) isFull() bool { return m.maxQueue > 0 && m.queue.len >= m.maxQueue }

// isPressed reports whether there is pressure now.
func (m *admission) isPressed() bool { return m.pressed && m.queue.len > 0 }

// admits reports whether r may wait. If r goes to the front of the queue, it may as long as it has time. Without a deadline it may under any
// pressure, as long as the queue has fewer than MaxQueue requests. r may also wait if other, which is not nil then, is refused in its place.
func (m *admission) admits(r *Request, first bool, now time.Time) (may bool, other *Request) {
	m.watch(now)
	switch {
	case r.isLate(now):
		return false, nil
	case first || r.answer.Holds:
		return true, nil
	case m.isFull():
		return false, nil
	}
	short := max(2*m.service.d, leastShort, r.answer.latest.Sub(now)/shortPart)
	if !r.bounded || !m.pressed || m.stock.isBare() || m.drains(m.queue.turns()+1) <= short {
		return true, nil
	}
	if m.fair {
		other = m.crowds(r)
	}
	return other != nil, other
}

// turn returns the request that is served next, or nil if nobody waits. That is the oldest; under pressure, with Config.Fair, the oldest of the key
// that has had least. While the head of the queue is in danger it is the newest instead.
func (m *admission) turn(now time.Time) *Request {
	m.watch(now)
	r := m.queue.head
	switch {
	case !m.pressed || r.ahead || !r.bounded:
		return r
	case r.isInDanger(now):
		return m.ofLeast(m.queue.tail, (*Request).older)
	}
	return m.ofLeast(r, (*Request).newer)
}

// ofLeast returns the first request, from r on in the direction of next, of the key that has had least. Without Config.Fair it returns r.
func (m *admission) ofLeast(r *Request, next func(*Request) *Request) *Request {
	for least := m.fairness.least(); least != nil && r.answer.account != least; {
		r = next(r)
	}
	return r
}

func (r *Request) older() *Request { return r.prev }
func (r *Request) newer() *Request { return r.next }

// crowds returns the oldest request of the key that has most requests in the queue: it can make room for r. It returns nil if r's own key has as many.
func (m *admission) crowds(r *Request) *Request {
	most := m.fairness.most()
	if most == nil || r.answer.account.queued >= most.queued {
		return nil
	}
	for o := m.queue.head; o != nil; o = o.next {
		if o.answer.account == most && o.bounded && !o.ahead {
			return o
		}
	}
	return nil
}

// noTime returns the error that refuses r.
func (m *admission) noTime(r *Request, now time.Time) *NoTimeError {
	e := &NoTimeError{Why: whyShort, Queued: m.queue.len, Wait: m.drains(m.queue.turns())}
	if due := r.answer.due; !due.IsZero() {
		e.Left, e.Service = max(0, due.Sub(now)), due.Sub(r.answer.latest)
	}
	switch {
	case r.isLate(now) && r.bounded:
		e.Why = whyLate
	case r.isLate(now):
		e.Why = whyMaxWait
	case m.isFull():
		e.Why = whyFull
	}
	if m.stock.isBare() {
		e.Outage = m.outage.why(now)
	}
	return e
}

// drains returns how long the present connections take for so many turns.
func (m *admission) drains(turns int) time.Duration {
	return time.Duration(turns) * m.service.d / time.Duration(max(1, m.stock.usable()))
}
