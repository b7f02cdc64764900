package sched

import "time"

const (
	// leastShort is the least that a short queue may take. A shorter one would run empty between two arrivals.
	leastShort = 10 * time.Millisecond
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

// admission decides who may wait, for how long, and who is next.
type admission struct {
	maxWait  time.Duration // Config.MaxWait
	service  average       // of the turns of connections whose statement was answered
	hopeless int           // how many had less time left than their text is expected to take
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
	case r.Expect > 0:
		return r.Expect + k.growth.leastHold.d
	}
	return others
}

// bound sets the latest start of r, which begins to wait: later it gets no connection. While there is no connection it is r's deadline, since nothing
// is known of what will come.
func (k *core) bound(r *Request, now time.Time) {
	r.latest = r.due
	if r.due.IsZero() {
		return
	}
	slack := r.due.Sub(now)
	if expect := k.expects(r, slack); expect > 0 && !k.stock.isBare() {
		if expect > slack {
			k.admission.hopeless++
			if k.admission.hopeless%tryHopeless == 0 {
				return
			}
		}
		r.latest = r.due.Add(-expect)
	}
}

// isLate reports whether r's latest start has passed.
func (r *Request) isLate(now time.Time) bool { return !r.latest.IsZero() && !now.Before(r.latest) }

// noTime returns the error that refuses r.
func (k *core) noTime(r *Request, now time.Time) *NoTimeError {
	e := &NoTimeError{Queued: k.queue.len, Wait: k.drains(k.queue.turns())}
	if !r.due.IsZero() {
		e.Left = r.due.Sub(now)
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
