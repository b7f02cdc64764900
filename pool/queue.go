package pool

import "time"

// waiter is one queued Acquire. ready has room for one value, so that whoever
// serves it never blocks.
type waiter struct {
	lease      *Lease
	ride       *ride // nil: it waits for a connection
	arrived    time.Time
	bounded    bool // its ctx has a deadline
	ready      chan grant
	queued     bool
	failed     bool    // a dial that began after it came, beside another
	flight     *flight // it left the queue to ride on it: ready follows when it has its answer
	answered   bool    // the lane's: ready has it
	prev, next *waiter
}

// disembark lets the flight that w rode on, if it did, know that its caller has gone on.
func (w *waiter) disembark() {
	if w.flight != nil {
		w.flight.aboard.Done()
	}
}

// grant ends a wait: with a connection, with the reason why there is none, or with
// neither if the waiter rode.
type grant struct {
	c   *conn
	err error
}

// waiterQueue is a list in order of arrival, from which one can leave anywhere.
type waiterQueue struct {
	head, tail *waiter
	len        int
	riders     int // of len, those who may ride
	inside     int // of len, those who wait inside a callback
}

// turns is how often a connection must come free for the queue to be empty.
func (q *waiterQueue) turns() int {
	return q.len - q.riders + (q.riders+maxFlight-1)/maxFlight
}

// next is how many one more connection would take from the queue at once.
func (q *waiterQueue) next() int {
	if q.head == nil || q.head.ride == nil {
		return min(q.len, 1)
	}
	return min(q.riders, maxFlight)
}

func (q *waiterQueue) push(w *waiter, first bool) {
	w.queued = true
	q.len++
	if w.ride != nil {
		q.riders++
	}
	if w.lease.in != nil {
		q.inside++
	}
	switch {
	case q.head == nil:
		q.head, q.tail = w, w
	case first:
		w.next, q.head.prev = q.head, w
		q.head = w
	default:
		w.prev, q.tail.next = q.tail, w
		q.tail = w
	}
}

// remove reports whether w was still queued.
func (q *waiterQueue) remove(w *waiter) bool {
	if !w.queued {
		return false
	}
	w.queued = false
	q.len--
	if w.ride != nil {
		q.riders--
	}
	if w.lease.in != nil {
		q.inside--
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	w.prev, w.next = nil, nil
	return true
}
