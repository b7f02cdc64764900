package sched

import (
	"sync"
	"time"
)

// Request is one caller's wish for a connection. The pool's lease has one in it; it is used for one Acquire at a time.
type Request struct {
	Owner    any       // never looked at here
	Within   *Within   // nil: none
	Asked    time.Time // when it was asked for, first
	Share    Share     // nil: it wants a connection of its own
	MayShare bool      // Prepare is asked, once, whether it can share
	asked    bool      // it was
	queued   bool
	marks

	aboard     *sync.WaitGroup // of the group for which it has left the queue: the answer follows
	answer     *answer
	prev, next *Request
}

// marks are of a request's last wait.
type marks struct {
	bounded bool // its ctx has a deadline
	failed  bool // a dial that began after it came, beside another
	told    bool // its group has had it answered
}

// begin makes r, which is in no queue, ready for a wait.
func (r *Request) begin(a *answer, bounded bool) {
	r.marks, r.aboard, r.answer = marks{bounded: bounded}, nil, a
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
	Withdraw(err error)  // its caller has left, because of err: what was not sent yet is not sent
}

// Within is the callback from which a request was made. What that holds cannot come free before the request has an answer.
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

// queue is a list in order of arrival, from which one can leave anywhere.
type queue struct {
	group      int // how many travel together at most
	head, tail *Request
	len        int
	sharing    int // of len, those who may travel with others
	inside     int // of len, those who wait inside a callback
}

// turns is how often a connection must come free for the queue to be empty.
func (q *queue) turns() int { return q.len - q.sharing + (q.sharing+q.group-1)/q.group }

// next is how many one more connection would take from the queue at once.
func (q *queue) next() int {
	if q.head == nil || q.head.Share == nil {
		return min(q.len, 1)
	}
	return min(q.sharing, q.group)
}

func (q *queue) push(r *Request, first bool) {
	r.queued = true
	q.count(r, 1)
	switch {
	case q.head == nil:
		q.head, q.tail = r, r
	case first:
		r.next, q.head.prev = q.head, r
		q.head = r
	default:
		r.prev, q.tail.next = q.tail, r
		q.tail = r
	}
}

// remove reports whether r was still queued.
func (q *queue) remove(r *Request) bool {
	if !r.queued {
		return false
	}
	r.queued = false
	q.count(r, -1)
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		q.head = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		q.tail = r.prev
	}
	r.prev, r.next = nil, nil
	return true
}

func (q *queue) count(r *Request, n int) {
	q.len += n
	if r.Share != nil {
		q.sharing += n
	}
	if r.Within != nil {
		q.inside += n
	}
}

// Group is a connection's turn with several requests that share it, and then with those that come after them.
type Group struct {
	Owner  any     // never looked at here
	Holder Request // what stands for all of them as the one that holds the connection; its Owner is the pool's

	// Whoever carries the group reads these, from Carry or a Next that is true until the next Next.
	Requests []*Request
	Last     bool // a request for a connection of its own waits behind them

	conn   *Conn
	aboard sync.WaitGroup // those who have boarded and not yet gone on with their answers
}

// board takes from the queue those who are g's next, as far as they are not expected to take longer than most, and says
// how long they have waited together.
func (g *Group) board(q *queue, most time.Duration, now time.Time) (waited time.Duration) {
	g.Requests = make([]*Request, 0, min(q.sharing, q.group))
	var cost time.Duration
	for r := q.head; r != nil && q.sharing > 0 && len(g.Requests) < q.group; {
		next := r.next
		if r.Share != nil {
			if cost += r.Share.Cost(); cost > most && len(g.Requests) > 0 {
				break
			}
			q.remove(r)
			r.aboard = &g.aboard
			g.aboard.Add(1)
			g.Requests = append(g.Requests, r)
			waited += now.Sub(r.Asked)
		}
		r = next
	}
	g.Last = q.len > q.sharing
	return waited
}
