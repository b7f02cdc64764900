package pool

import "time"

// waiter is one queued Acquire. ready has room for one value, so that whoever
// serves it never blocks.
type waiter struct {
	lease      *Lease
	arrived    time.Time
	ready      chan grant
	queued     bool
	prev, next *waiter
}

// grant ends a wait: with a connection, or with the reason why there is none.
type grant struct {
	c   *conn
	err error
}

// waiterQueue is a list in order of arrival, from which one can leave anywhere.
type waiterQueue struct {
	head, tail *waiter
	len        int
}

func (q *waiterQueue) push(w *waiter, first bool) {
	w.queued = true
	q.len++
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
