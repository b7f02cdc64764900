package pool

import (
	"fmt"
	"time"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgerr"
)

// A standstill: all connections are out, and everybody who has one waits for
// another. PostgreSQL cannot see it. That somebody waits who has a connection is no sign
// of it: of three goroutines of an invocation one may work while two wait.
//
// It is certain, and broken at once, if every connection is held by a function of InTx and
// with the ctx of each somebody waits: the function cannot be over before. Every other kind
// (of leases, open Rows, forgotten transactions; across two pools) lasts until a
// deadline, and the AcquireError of that names who holds the connections.

// ErrNestedAcquire is what the youngest waiter gets when nobody can ever be served, because
// every connection is held by a function of InTx that waits for another one. The error is a
// [*NestedAcquireError], inside an [*AcquireError].
var ErrNestedAcquire = pgerr.ErrNestedAcquire

// NestedAcquireError is ErrNestedAcquire with the two places in the code that together make
// a standstill. Do the one before or after the other, or use one connection for both.
type NestedAcquireError struct {
	Holder  Holder   // what the function of InTx holds in which the caller waited
	Waiting []string // where the caller waited, innermost first

	held *Lease // until Holder is filled in
}

func (e *NestedAcquireError) Error() string {
	at := ""
	if len(e.Waiting) > 0 {
		at = fmt.Sprintf("; waiting at %s", e.Waiting[0])
	}
	return fmt.Sprintf("%v (%s%s)", ErrNestedAcquire, e.Holder, at)
}

// Is reports whether target is ErrNestedAcquire.
func (e *NestedAcquireError) Is(target error) bool { return target == ErrNestedAcquire }

// fill adds the stacks, in the goroutine that waited.
func (e *NestedAcquireError) fill() {
	var s gostack.Site
	s.Capture(3, gostack.Deep)
	e.Holder, e.Waiting, e.held = e.held.holder(time.Now()), s.Lines(), nil
}

// fullLocked reports whether somebody waits and only what is lent can come free: what is
// dialed, or cleaned in the background, would be.
func (a *admission) fullLocked() bool {
	return a.queue.len > 0 && a.leased == len(a.conns) && len(a.conns) >= a.max && !a.closed
}

// watchLocked is asked whenever something has changed.
func (a *admission) watchLocked() {
	for a.queue.inside > 0 && a.fullLocked() && a.allLocked(a.queue.awaited()) && a.breakLocked() {
	}
}

// awaited returns the leases that are held by functions for which somebody waits.
func (q *waiterQueue) awaited() map[*Lease]bool {
	leases := make(map[*Lease]bool)
	for w := q.head; w != nil; w = w.next {
		for in := w.lease.in; in != nil; in = in.outer {
			leases[in.lease] = true
		}
	}
	return leases
}

// allLocked reports whether every lease that is out is one of held.
func (a *admission) allLocked(held map[*Lease]bool) bool {
	for c := range a.conns {
		if !held[c.lease] {
			return false
		}
	}
	return true
}

// breakLocked fails the youngest waiter who waits inside a function of InTx that holds a
// connection, and all who wait in the same function, since it is not over before each has an answer.
func (a *admission) breakLocked() bool {
	for w := a.queue.tail; w != nil; w = w.prev {
		held := a.heldByLocked(w.lease.in)
		if held == nil {
			continue
		}
		for w != nil {
			older := w.prev
			if w.lease.in.within(held) {
				a.queue.remove(w)
				a.counts.nested++
				w.ready <- grant{err: &NestedAcquireError{held: held}}
			}
			w = older
		}
		return true
	}
	return false
}

// heldByLocked is a lease that one of the functions around a waiter holds, or nil.
func (a *admission) heldByLocked(in *callback) *Lease {
	for c := range a.conns {
		if in.within(c.lease) {
			return c.lease
		}
	}
	return nil
}
