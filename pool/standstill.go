package pool

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A standstill: all connections are out, and everybody who has one waits for
// another. PostgreSQL cannot see it, and without us it lasts until somebody's
// deadline. That somebody waits who has a connection is no sign of it: of three
// goroutines of an invocation one may work while two wait.
//
// Two kinds can be told from that.
//
// By ctx: every connection is held by a function of InTx, and with the ctx of each somebody
// waits. The function cannot be over before, so it is broken at once, by the arrival
// of the last.
//
// By stack: every connection is held by a scope of which somebody waits, has not been used for a
// tick, and no goroutine that could be using it does anything but wait. That takes a
// goroutine profile, which costs milliseconds, so it is taken rarely.
//
// Not told: a standstill across two pools; of a lease outside a scope, unless InTx holds it;
// while any holder has a statement under way, such as one that waits for a lock.
const (
	// standstillTick is how long a connection must have been unused.
	standstillTick = 10 * time.Millisecond
	// maxStandstillTick is where the doubling ends while there is work and no standstill.
	maxStandstillTick = time.Second
)

// ErrNestedAcquire is what the youngest waiter gets when nobody can ever be served, because
// everybody who holds a connection waits for another one. The error is a
// [*NestedAcquireError], inside an [*AcquireError].
var ErrNestedAcquire = errors.New("lmipool: nested acquire: all connections are held by those who wait for another")

// NestedAcquireError is ErrNestedAcquire with the two places in the code that together make
// a standstill. Do the one before or after the other, or use one connection for both.
type NestedAcquireError struct {
	Holder  Holder   // what the caller, or a goroutine of the same invocation, holds
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
	var s stack
	s.capture(3, deep)
	e.Holder, e.Waiting, e.held = e.held.holder(time.Now()), s.lines(), nil
}

// fullLocked reports whether somebody waits and only what is lent can come free: what is
// dialed, or cleaned in the background, would be.
func (a *admission) fullLocked() bool {
	return a.queue.len > 0 && a.leased == len(a.conns) && len(a.conns) >= a.max && !a.closed
}

// watchLocked is asked whenever something has changed.
func (a *admission) watchLocked() {
	for a.queue.inside > 0 && a.fullLocked() && a.allLocked(a.queue.awaited(map[*Scope]int{})) && a.breakLocked(false) {
	}
	if !a.watched && a.fullLocked() {
		a.watched = true
		select {
		case a.suspect <- struct{}{}:
		default:
		}
	}
}

// awaited returns the leases that are held by functions for which somebody waits, and
// counts in scopes those who wait for each scope; nil is none.
func (q *waiterQueue) awaited(scopes map[*Scope]int) map[*Lease]bool {
	leases := make(map[*Lease]bool)
	for w := q.head; w != nil; w = w.next {
		scopes[w.lease.scope]++
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

// breakLocked fails the youngest waiter who holds something; if a function of InTx holds it,
// all who wait on its behalf, since it is not over before each has an answer. Only with
// scopes does it count what a waiter's scope holds.
func (a *admission) breakLocked(scopes bool) bool {
	for w := a.queue.tail; w != nil; w = w.prev {
		held := a.heldByLocked(w.lease, scopes)
		if held == nil {
			continue
		}
		inside := w.lease.in.within(held)
		for w != nil {
			older := w.prev
			if !inside || w.lease.in.within(held) {
				a.queue.remove(w)
				a.counts.nested++
				w.ready <- grant{err: &NestedAcquireError{held: held}}
			}
			if w = older; !inside {
				break
			}
		}
		return true
	}
	return false
}

// heldByLocked is what l's caller holds: a lease of the functions around it, or of its scope.
func (a *admission) heldByLocked(l *Lease, scopes bool) (held *Lease) {
	for c := range a.conns {
		if l.in.within(c.lease) {
			return c.lease
		}
		if scopes && l.scope != nil && c.lease.scope == l.scope {
			held = c.lease
		}
	}
	return held
}

// suspectsLocked returns those who hold the connections, if it may be a standstill:
// somebody waits for each, and those who are not known by ctx to wait have rested since
// the last time.
func (a *admission) suspectsLocked(now time.Time) (out, resting []*Lease, scopes map[*Scope]int) {
	scopes = make(map[*Scope]int)
	held := a.queue.awaited(scopes)
	for c := range a.conns {
		l := c.lease
		switch {
		case held[l]:
		case l.what == "lane", l.scope == nil, scopes[l.scope] == 0, l.idleFor(now) == 0:
			return nil, nil, nil
		default:
			resting = append(resting, l)
		}
		out = append(out, l)
	}
	return out, resting, scopes
}

// breakStandstill looks for one, breaks it, and says when to look again; 0: when
// the queue says so.
func (p *Pool) breakStandstill(last time.Duration) (next time.Duration) {
	a, now := p.adm, time.Now()
	a.mu.Lock()
	if !a.fullLocked() {
		a.watched = false
		a.mu.Unlock()
		return 0
	}
	out, resting, scopes := a.suspectsLocked(now)
	a.mu.Unlock()
	if len(out) == 0 {
		return standstillTick
	}
	if len(resting) > 0 && someoneWorks(resting, scopes) {
		// At most a twentieth of a CPU.
		return min(max(2*last, 20*time.Since(now)), maxStandstillTick)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fullLocked() {
		// Still the same, and at rest?
		again, _, _ := a.suspectsLocked(time.Now())
		if len(again) > 0 && !slices.ContainsFunc(again, func(l *Lease) bool { return !slices.Contains(out, l) }) {
			a.breakLocked(true)
		}
	}
	return standstillTick
}
