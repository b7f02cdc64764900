package sched

import (
	"sync"
	"time"
)

// Request is one caller's wish for a connection. The pool's lease has one as a field. It is used for one Acquire at a time.
type Request struct {
	Owner    any       // for the pool
	Within   *Within   // nil: it was made outside callbacks
	Asked    time.Time // when it was first made
	Share    Share     // nil: it wants a connection of its own
	MayShare bool      // it may become one that shares: AskAgain asks it
	asked    bool      // Prepare was asked
	alone    bool      // Alone was called: it is not asked again
	queued   bool
	marks

	aboard     *sync.WaitGroup // its group's, once it has left the queue with one; the answer follows
	answer     *answer
	prev, next *Request
}

// Waited reports whether r was ever queued.
func (r *Request) Waited() bool { return r.answer != nil }

// marks belong to a request's last wait.
type marks struct {
	bounded bool // its ctx has a deadline
	ahead   bool // it is in front of those who have just come and hold nothing
	failed  bool // a dial that began after it came has failed while another ran
	told    bool // Answer was called
}

// begin prepares r, which is in no queue, for a wait.
func (r *Request) begin(a *answer, due time.Time, bounded bool) {
	r.marks, r.aboard, r.answer = marks{bounded: bounded}, nil, a
	a.forgets(due)
}

// goesOn tells r's group, if it has one, that r's caller has gone on.
func (r *Request) goesOn() {
	if r.aboard != nil {
		r.aboard.Done()
	}
}

// Share lets a request use a connection together with others.
type Share interface {
	Cost() time.Duration // how long it is expected to take on the server
	Withdraw(err error)  // its caller has left, because of err: if nothing was sent yet, nothing is sent
}

// Within is the callback in which a request was made. What the callback holds cannot come free before the request has its answer.
type Within struct {
	Holds *Request // nil: nothing
	Outer *Within  // the callback around it; nil: none
}

// holds reports whether w, or a callback around it, holds r.
func (w *Within) holds(r *Request) bool {
	for w != nil && w.Holds != r {
		w = w.Outer
	}
	return w != nil
}

// queue is a list in order of arrival, with those in front that are ahead. A request can leave from the middle.
type queue struct {
	group      int // Config.MaxGroup
	head, tail *Request
	front      *Request // the last one that is ahead; nil: none is
	len        int
	sharing    int // how many of them share
	inside     int // how many of them were made in a callback
}

// turns is how often a connection must come free until the queue is empty.
func (q *queue) turns() int { return q.len - q.sharing + (q.sharing+q.group-1)/q.group }

// next is how many requests the next connection would serve at once.
func (q *queue) next() int {
	if q.head == nil || q.head.Share == nil {
		return min(q.len, 1)
	}
	return min(q.sharing, q.group)
}

func (q *queue) push(r *Request, first bool) {
	r.queued = true
	q.count(r, 1)
	holds := r.answer != nil && r.answer.Holds
	r.ahead = first || holds
	switch {
	case first, holds && q.front == nil:
		r.next = q.head
	case holds:
		r.prev, r.next = q.front, q.front.next
	default:
		r.prev = q.tail
	}
	if r.ahead && (q.front == nil || !first) {
		q.front = r
	}
	*q.after(r.prev), *q.before(r.next) = r, r
}

// after is where the queue has what follows r, and before what r follows; nil: the end of the queue.
func (q *queue) after(r *Request) **Request {
	if r == nil {
		return &q.head
	}
	return &r.next
}

func (q *queue) before(r *Request) **Request {
	if r == nil {
		return &q.tail
	}
	return &r.prev
}

// remove reports whether r was still queued.
func (q *queue) remove(r *Request) bool {
	if !r.queued {
		return false
	}
	r.queued = false
	q.count(r, -1)
	if q.front == r {
		q.front = r.prev
	}
	*q.after(r.prev), *q.before(r.next) = r.next, r.prev
	r.prev, r.next = nil, nil
	return true
}

func (q *queue) count(r *Request, n int) {
	q.len += n
	r.waits(n)
	if r.Share != nil {
		q.sharing += n
	}
	if r.Within != nil {
		q.inside += n
	}
}

// Group is several requests that share a connection's turn. The same Group is used again for those of the next turn.
type Group struct {
	Owner  any     // for the pool
	Holder Request // holds the connection for all of them

	// Whoever carries the group reads these: from Carry, or from a Next that returned true, until the next call of Next.
	Requests []*Request
	Last     bool // a request for a connection of its own waits behind them

	conn   *Conn
	aboard sync.WaitGroup // counts those who have boarded and have not gone on with their answers
}

// board moves to g the first requests of the queue that share and are not late, up to the size of a group and a total cost of most. It returns the sum of their waits.
func (g *Group) board(q *queue, most time.Duration, now time.Time) (waited time.Duration) {
	g.Requests = make([]*Request, 0, min(q.sharing, q.group))
	var cost time.Duration
	for r := q.head; r != nil && q.sharing > 0 && len(g.Requests) < q.group; {
		next := r.next
		if r.Share != nil && !r.isLate(now) {
			if cost += r.Share.Cost(); cost > most && len(g.Requests) > 0 {
				break
			}
			q.remove(r)
			r.charge(r.Share.Cost())
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
