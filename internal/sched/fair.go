package sched

import (
	"slices"
	"time"
)

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

// begins is called when pressure begins.
func (f *fairness) begins() {
	for _, a := range f.all {
		a.lent = 0
	}
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

// ofLeast returns the first request, from r on in the direction of next, of the key that has had least. Without Config.Fair it returns r.
func (k *core) ofLeast(r *Request, next func(*Request) *Request) *Request {
	for least := k.fairness.least(); least != nil && r.answer.account != least; {
		r = next(r)
	}
	return r
}

func (r *Request) older() *Request { return r.prev }
func (r *Request) newer() *Request { return r.next }

// makeRoom refuses the oldest request of the key that has most requests in the queue, and reports whether it did, so that there is room for r. It
// refuses nobody if r's own key has as many.
func (k *core) makeRoom(r *Request, now time.Time) bool {
	var most *account
	for _, a := range k.fairness.all {
		if most == nil || a.queued > most.queued {
			most = a
		}
	}
	if most == nil || r.answer.account.queued >= most.queued {
		return false
	}
	for o := k.queue.head; o != nil; o = o.next {
		if o.answer.account == most && o.bounded && !o.ahead {
			k.out.tell(o, nil, k.tooLate(o, now))
			return true
		}
	}
	return false
}
