package sched

import (
	"slices"
	"sync"
	"time"
)

// Request is one caller's wish for a connection. The pool's lease has one as a field. It is used for one Acquire at a time.
type Request struct {
	Owner    any       // belongs to the pool; the scheduler does not use it
	Within   *Within   // the callback in which the request was made; nil if it was made in none
	Asked    time.Time // when the request was made for the first time
	Share    Share     // how the request shares; nil if it wants a connection of its own
	MayShare bool      // the request may be able to share later, so AskAgain has it asked again
	asked    bool      // Prepare was called for it
	alone    bool      // Alone was called, so AskAgain does nothing
	queued   bool
	marks

	aboard     *sync.WaitGroup // the WaitGroup of its group, once the request has left the queue with a group; the answer follows
	answer     *answer
	prev, next *Request
}

// Waited reports whether r was ever queued.
func (r *Request) Waited() bool { return r.answer != nil }

// marks belong to a request's last wait.
type marks struct {
	bounded bool // the request's ctx has a deadline
	ahead   bool // the request is in the front part of the queue: its turn had come before, or its caller holds a connection
	failed  bool // a dial that began after the request came has failed while another ran
	told    bool // Answer was called
}

// begin prepares r, which is not queued, for a wait that ends with a.
func (r *Request) begin(a *answer, due time.Time, bounded bool) {
	r.marks, r.aboard, r.answer = marks{bounded: bounded}, nil, a
	a.forgets(due)
}

// Latest returns the latest start of r, which waits: from then on TooLate refuses r. It returns the zero time if r may wait for ever.
func (r *Request) Latest() time.Time { return r.answer.latest }

// isLate reports whether r's latest start has passed.
func (r *Request) isLate(now time.Time) bool {
	return r.answer != nil && !r.answer.latest.IsZero() && !now.Before(r.answer.latest)
}

// waits adds n to the number of waiting requests of r's key. charge adds d to the time for which that key was lent connections.
func (r *Request) waits(n int) {
	if r.answer != nil && r.answer.account != nil {
		r.answer.account.queued += n
	}
}

func (r *Request) charge(d time.Duration) {
	if r.answer != nil && r.answer.account != nil {
		r.answer.account.lent += d + 1
	}
}

// goesOn tells r's group, if r is in one, that r's caller has taken its answer and goes on (see Await).
func (r *Request) goesOn() {
	if r.aboard != nil {
		r.aboard.Done()
	}
}

// Share lets a request use a connection together with others.
type Share interface {
	Cost() time.Duration // how long the request is expected to take on the server
	Withdraw(err error)  // is called when the request's caller has left because of err: what was not sent yet need not be sent
}

// Within is the callback in which a request was made. What the callback holds cannot come free before the request has its answer.
type Within struct {
	Holds *Request // the request whose connection the callback holds; nil if it holds none
	Outer *Within  // the callback around this one; nil if there is none
}

// holds reports whether w, or a callback around it, holds r.
func (w *Within) holds(r *Request) bool {
	for w != nil && w.Holds != r {
		w = w.Outer
	}
	return w != nil
}

// queue is a list of requests: first those with ahead set, then the others in order of arrival. A request can leave from the middle.
type queue struct {
	group      int // Config.MaxGroup
	head, tail *Request
	front      *Request // the last request with ahead set; nil if there is none
	len        int
	sharing    int // how many requests share
	inside     int // how many requests were made in a callback
}

// turns returns how often a connection must come free until the queue is empty.
func (q *queue) turns() int { return q.len - q.sharing + (q.sharing+q.group-1)/q.group }

// next returns how many requests the next connection would serve at once.
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

// after returns the link that points to the request behind r, and before the link to the request in front of r. If r is nil, that is head or tail.
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

// remove takes r out of the queue, and reports whether r was still there.
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

// Group is several requests that share one turn of a connection. The same Group is used again for the requests of the next turn.
type Group struct {
	Owner  any     // belongs to the pool; the scheduler does not use it
	Holder Request // holds the connection for all of them

	// Whoever carries the group reads the next two fields. They stay as they are until the next call of Next.
	Requests []*Request
	Last     bool // a request for a connection of its own waits behind them

	conn   *Conn
	next   *Group         // the next one in actions.carry
	aboard sync.WaitGroup // counts the requests that have boarded and whose callers have not gone on with their answers
}

// board moves the first requests of the queue that share and are not late to g, up to a group's size and the cost most. It returns their waits, summed.
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

// fairness has an account for each key of the requests that waited lately. With them, a key that asks for much does not push out the others under
// pressure. The queue is short then, so there are few accounts, and searching all of them is fast.
type fairness struct {
	of      map[string]*account
	all     []*account // in the order of their making: a map has no order, and a run of the scheduler must be repeatable
	sweptAt time.Time
	kept    int // how many accounts were left then
}

// account is how many requests of a key wait, and for how long the key was lent connections since pressure began.
type account struct {
	key    string
	queued int
	lent   time.Duration
	seenAt time.Time
}

// forgetKey is how long an account is kept after its key was last seen.
const forgetKey = time.Second

// manyKeys is how many accounts are looked through without harm. If there are more, those of which nobody waits go at once.
const manyKeys = 256

// see returns the account of key, whose request begins to wait. A key with no other waiting request gets at least as much on its account as the key
// that has had least, so that nobody saves up time by not asking.
func (f *fairness) see(key string, now time.Time) *account {
	if crowded := len(f.all) >= max(manyKeys, 2*f.kept); crowded || now.Sub(f.sweptAt) >= forgetKey {
		f.sweptAt = now
		f.all = slices.DeleteFunc(f.all, func(a *account) bool {
			gone := a.queued == 0 && (crowded || now.Sub(a.seenAt) >= forgetKey)
			if gone {
				delete(f.of, a.key)
			}
			return gone
		})
		f.kept = len(f.all)
	}
	a := f.of[key]
	if a == nil {
		if f.of == nil {
			f.of = make(map[string]*account)
		}
		a = &account{key: key}
		f.of[key], f.all = a, append(f.all, a)
	}
	if least := f.least(); a.queued == 0 && least != nil {
		a.lent = max(a.lent, least.lent)
	}
	a.seenAt = now
	return a
}

// least returns, of the keys that wait, the account of the one that has had least. It returns nil if nobody waits.
func (f *fairness) least() (least *account) {
	for _, a := range f.all {
		if a.queued > 0 && (least == nil || a.lent < least.lent) {
			least = a
		}
	}
	return least
}

// most returns the account with most waiting requests. It returns nil if there is no account.
func (f *fairness) most() (most *account) {
	for _, a := range f.all {
		if most == nil || a.queued > most.queued {
			most = a
		}
	}
	return most
}

// begins is called when pressure begins.
func (f *fairness) begins() {
	for _, a := range f.all {
		a.lent = 0
	}
}
