package pool

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// admission decides who gets a connection, in which order, and when one more is
// dialed. It decides under one short lock and does no I/O: starting a dial is
// startDial's business, which runs outside the lock.
//
// Invariants, with mu held:
//
//	len(conns) + dialing ≤ limit ≤ max, but for a limit that has just been lowered
//	queue is not empty ⇒ idle is empty: whatever comes free goes to the head
//	each of conns is idle, leased, or with a goroutine that will call put or drop
type admission struct {
	max       int
	startDial func() // runs one dial and calls dialed or dialFailed
	now       func() time.Time

	mu      sync.Mutex
	idle    []*conn // a stack: the last used is the first reused, so that surplus ages
	queue   waiterQueue
	conns   map[*conn]struct{} // every connection that the server may still count as ours
	leased  int                // how many of them are out
	dialing int
	limit   int
	floor   int // this many are kept open without demand
	closed  bool
	empty   chan struct{} // closed when closed with no conns and no dials

	hold, dial average
	leastHold  least
	stalled    time.Duration // how long somebody has waited with nothing coming free
	queueSince time.Time     // since when the queue has been non-empty
	notBefore  time.Time     // no dial before this: back-off after a failed one
	failures   int           // dials that failed in a row
	recheck    *time.Timer   // asks again whether to grow, while somebody waits
	rechecking bool

	counts counts
}

func newAdmission(maxConns int, startDial func()) *admission {
	a := &admission{
		max:       maxConns,
		limit:     1,
		startDial: startDial,
		now:       time.Now,
		conns:     make(map[*conn]struct{}),
		empty:     make(chan struct{}),
	}
	return a
}

// acquire returns a connection for l, in order of arrival. first puts l in front
// of the queue: its turn had come, but the connection that it got was no good.
func (a *admission) acquire(ctx context.Context, l *Lease, first bool) (*conn, error) {
	a.mu.Lock()
	if err := l.dead(ctx); err != nil {
		a.counts.canceledAcquire++
		a.mu.Unlock()
		return nil, err
	}
	if a.closed {
		a.mu.Unlock()
		return nil, ErrClosed
	}
	if n := len(a.idle); n > 0 {
		c := a.idle[n-1]
		a.idle = a.idle[:n-1]
		a.lendLocked(c, l, a.now())
		a.mu.Unlock()
		return c, nil
	}
	now := a.now()
	w := &waiter{lease: l, arrived: l.asked, ready: make(chan grant, 1)}
	if a.queue.len == 0 {
		a.queueSince = now
	}
	a.queue.push(w, first)
	a.counts.emptyAcquire++
	dials := a.planLocked(now)
	a.mu.Unlock()
	a.start(dials)

	var ended <-chan struct{}
	if l.scope != nil {
		ended = l.scope.end()
	}
	var err error
	select {
	case g := <-w.ready:
		return g.c, g.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-ended:
		err = ErrInvocationEnded
	}
	a.mu.Lock()
	a.counts.canceledAcquire++
	queued := a.queue.remove(w)
	a.queueShrankLocked()
	a.mu.Unlock()
	if !queued { // served at the same moment: what it got goes to the next
		if g := <-w.ready; g.c != nil {
			a.put(g.c)
		}
	}
	return nil, err
}

// put takes a connection back that is fit for the next user.
func (a *admission) put(c *conn) {
	now := a.now()
	a.mu.Lock()
	a.returnedLocked(c, now)
	if a.closed {
		a.mu.Unlock()
		c.retire()
		return
	}
	a.serveLocked(c, now)
	dials := a.planLocked(now)
	a.mu.Unlock()
	a.start(dials)
}

// drop forgets a connection that the server has let go of.
func (a *admission) drop(c *conn) {
	a.mu.Lock()
	a.returnedLocked(c, a.now())
	delete(a.conns, c)
	dials := a.planLocked(a.now())
	a.emptyLocked()
	a.mu.Unlock()
	a.start(dials)
}

// retain ends c's lease while c stays counted: it is being cleaned or closed in
// the background, and put or drop follows.
func (a *admission) retain(c *conn) {
	a.mu.Lock()
	a.returnedLocked(c, a.now())
	a.mu.Unlock()
}

// dialed adds a new connection.
func (a *admission) dialed(c *conn, took time.Duration) {
	now := a.now()
	a.mu.Lock()
	a.dialing--
	a.conns[c] = struct{}{}
	a.failures, a.notBefore = 0, time.Time{}
	a.counts.newConns++
	a.dial.add(took)
	if len(a.conns) == 1 {
		a.stalled = 0 // until now there was nothing that could come free
	}
	closed := a.closed
	if !closed {
		a.serveLocked(c, now)
	}
	dials := a.planLocked(now)
	a.mu.Unlock()
	a.start(dials)
	if closed {
		c.retire()
	}
}

// dialFailed ends a dial that began at start. While the pool has a connection, or
// another dial is under way, that is no caller's error: they wait for what there
// is, and the next dial waits longer each time. With nothing left, everybody who
// had been waiting when the dial began gets its error; who came later gets a dial
// that began later.
func (a *admission) dialFailed(err error, start time.Time) {
	now := a.now()
	a.mu.Lock()
	a.dialing--
	a.counts.failedDials++
	a.failures++
	// 50 ms, doubling to 6.4 s, half of it at random so that the environments
	// of a fleet do not all come back at once.
	rest := 50 * time.Millisecond << min(a.failures-1, 7)
	a.notBefore = now.Add(rest/2 + rand.N(rest/2))
	if len(a.conns) == 0 && a.dialing == 0 {
		for w := a.queue.head; w != nil && !w.arrived.After(start); w = a.queue.head {
			a.queue.remove(w)
			w.ready <- grant{err: err}
		}
		a.queueShrankLocked()
	}
	dials := a.planLocked(now)
	a.emptyLocked()
	a.mu.Unlock()
	a.start(dials)
}

// serveLocked gives c to the head of the queue, or keeps it as idle.
func (a *admission) serveLocked(c *conn, now time.Time) {
	if w := a.queue.head; w != nil {
		a.queue.remove(w)
		a.lendLocked(c, w.lease, now)
		a.counts.emptyAcquireWait += now.Sub(w.arrived)
		a.queueShrankLocked()
		w.ready <- grant{c: c}
		return
	}
	c.since = now
	a.idle = append(a.idle, c)
}

func (a *admission) lendLocked(c *conn, l *Lease, now time.Time) {
	c.idleFor = now.Sub(c.since)
	c.since = now
	c.lease = l
	a.leased++
	a.counts.acquires++
}

func (a *admission) returnedLocked(c *conn, now time.Time) {
	if c.lease == nil {
		return
	}
	c.lease = nil
	a.leased--
	a.hold.add(now.Sub(c.since))
	a.leastHold.add(now.Sub(c.since))
	a.stalled = 0
}

func (a *admission) queueShrankLocked() {
	if a.queue.len == 0 {
		a.queueSince = time.Time{}
	}
}

// planLocked says how many dials to start now, and counts them as begun.
func (a *admission) planLocked(now time.Time) (dials int) {
	for !a.closed && a.dialing < maxDials && len(a.conns)+a.dialing < a.max && a.dialLocked(now) {
		a.limit = max(a.limit, len(a.conns)+a.dialing+1)
		a.dialing++
		dials++
	}
	a.recheckLocked()
	return dials
}

// dialLocked says whether one more dial is wanted.
func (a *admission) dialLocked(now time.Time) bool {
	conns, resting := len(a.conns)+a.dialing, now.Before(a.notBefore)
	switch {
	case conns < a.floor && !resting:
		return true
	case a.queue.len <= a.dialing:
		return false
	case len(a.conns) > 0 && resting: // there is something to wait for meanwhile
		return false
	}
	return conns < a.limit || a.demandLocked(now).grow()
}

func (a *admission) demandLocked(now time.Time) demand {
	d := demand{
		waiting:   a.queue.len - a.dialing,
		conns:     len(a.conns) + a.dialing,
		dialing:   a.dialing,
		hold:      a.hold.d,
		leastHold: a.leastHold.d,
		dial:      a.dial.d,
		stalled:   a.stalled,
	}
	if a.queue.len > 0 {
		d.queueBusy = now.Sub(a.queueSince)
	}
	return d
}

// recheckLocked sees to it that the question is asked again when nothing comes
// free: no other event would ask it.
func (a *admission) recheckLocked() {
	wanted := a.queue.len > a.dialing || len(a.conns)+a.dialing < a.floor
	if a.closed || a.rechecking || !wanted || len(a.conns)+a.dialing >= a.max {
		return
	}
	a.rechecking = true
	if a.recheck == nil {
		a.recheck = time.AfterFunc(stallTick, a.checkAgain)
	} else {
		a.recheck.Reset(stallTick)
	}
}

func (a *admission) checkAgain() {
	a.mu.Lock()
	a.rechecking = false
	if a.queue.len > 0 {
		a.stalled += stallTick
	} else {
		a.stalled = 0
	}
	dials := a.planLocked(a.now())
	a.mu.Unlock()
	a.start(dials)
}

// setFloor has n connections opened, and reopened, without waiting for demand.
// It is how Warm, MinConns and MinIdleConns are served.
func (a *admission) setFloor(n int) {
	a.mu.Lock()
	a.floor = n
	dials := a.planLocked(a.now())
	a.mu.Unlock()
	a.start(dials)
}

func (a *admission) start(dials int) {
	for range dials {
		a.startDial()
	}
}

// takeIdle removes the idle connections for which surplus is true, from the
// longest idle on, and lowers the limit with them.
func (a *admission) takeIdle(surplus func(c *conn, idle, open int) bool) (taken []*conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := a.idle[:0]
	for _, c := range a.idle {
		// What is being closed counts no more.
		if surplus(c, len(a.idle)-len(taken), len(a.idle)+a.leased-len(taken)) {
			taken = append(taken, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(a.idle[len(kept):])
	a.idle = kept
	a.limit = max(1, a.limit-len(taken))
	return taken
}

// close refuses everybody from now on, and returns the idle connections.
func (a *admission) close() []*conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	if a.recheck != nil {
		a.recheck.Stop()
	}
	for w := a.queue.head; w != nil; w = a.queue.head {
		a.queue.remove(w)
		w.ready <- grant{err: ErrClosed}
	}
	idle := a.idle
	a.idle = nil
	a.emptyLocked()
	return idle
}

func (a *admission) emptyLocked() {
	if a.closed && len(a.conns) == 0 && a.dialing == 0 {
		select {
		case <-a.empty:
		default:
			close(a.empty)
		}
	}
}

// out lists the leases that hold a connection.
func (a *admission) out() []*Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*Lease, 0, a.leased)
	for c := range a.conns {
		if c.lease != nil {
			out = append(out, c.lease)
		}
	}
	return out
}
