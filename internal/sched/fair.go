package sched

import (
	"slices"
	"time"
)

// fairness has an account for each key of requests that waited lately, so that under pressure a key that asks for much does not push out the others.
// Their number is small while there is pressure, since the queue is short, so the accounts are looked through.
type fairness struct {
	of      map[string]*account
	all     []*account // in the order in which they came, so that a run can be repeated
	sweptAt time.Time
}

// account is what a key has, and has had since pressure began.
type account struct {
	key    string
	queued int
	lent   time.Duration
	seenAt time.Time
}

// forgetKey is how long an account is kept after its key was last seen.
const forgetKey = time.Second

// see returns the account of key. One that has asked for nothing for a while saves up nothing: it begins with as much as the one that has had least.
func (f *fairness) see(key string, now time.Time) *account {
	if now.Sub(f.sweptAt) >= forgetKey {
		f.sweptAt = now
		f.all = slices.DeleteFunc(f.all, func(a *account) bool {
			gone := a.queued == 0 && now.Sub(a.seenAt) >= forgetKey
			if gone {
				delete(f.of, a.key)
			}
			return gone
		})
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

// least returns the account that has had least of those who wait; nil: nobody waits.
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

// waits counts n more in the queue for r's key, and charge what r is lent a connection for.
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

// ofLeast returns the first request, from r on, of the key that has had least. Without keys that is r.
func (k *core) ofLeast(r *Request, next func(*Request) *Request) *Request {
	for least := k.fairness.least(); least != nil && r.answer.account != least; {
		r = next(r)
	}
	return r
}

func (r *Request) older() *Request { return r.prev }
func (r *Request) newer() *Request { return r.next }

// makeRoom refuses the oldest request of the key that has most in the queue, and reports whether there is room for r then. There is none if that key is
// r's own.
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
