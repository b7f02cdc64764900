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
