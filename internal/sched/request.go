package sched

import (
	"sync"
	"time"
)

// Request is one caller's wish for a connection. The pool's lease has one in it; it is used
// for one Acquire at a time.
type Request struct {
	Owner    any       // never looked at here
	Within   *Within   // nil: none
	Asked    time.Time // when it was asked for, first
	Share    Share     // nil: it wants a connection of its own
	MayShare bool      // Prepare is asked, once, whether it can share
	asked    bool      // it was
	queued   bool
	marks
	wait
}

// marks are of a request's last wait.
type marks struct {
	bounded bool // its ctx has a deadline
	failed  bool // a dial that began after it came, beside another
	told    bool // its group has had it answered
}

// wait is a request's time between Acquire and its answer.
type wait struct {
	aboard     *sync.WaitGroup // of the group for which it has left the queue: the answer follows
	answer     *answer
	prev, next *Request
}

// begin makes r ready for a wait.
func (r *Request) begin(a *answer, bounded bool) {
	r.marks, r.wait = marks{bounded: bounded}, wait{answer: a}
}

// goesOn lets the group that r travelled with, if it did, know that its caller has gone on.
func (r *Request) goesOn() {
	if r.aboard != nil {
		r.aboard.Done()
	}
}

// Share is what lets a request travel with others.
type Share interface {
	Cost() time.Duration // how long it is expected to take, on the server
	Withdraw()           // its caller has left: what was not sent yet is not sent
}

// Within is the callback from which a request was made. What that holds cannot come free before
// the request has an answer.
type Within struct {
	Holds *Request // nil: nothing
	Outer *Within  // the callback around it; nil: none
}

// holds reports whether w, or one around it, holds r.
func (w *Within) holds(r *Request) bool {
	for w != nil && w.Holds != r {
		w = w.Outer
	}
	return w != nil
}
