package pool

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/catalog"
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
	rideFor   func(context.Context, *Lease) *ride
	// maxFlightTime is how long those on a flight may be expected to take.
	maxFlightTime time.Duration
	takeOff       func(*flight) // runs flights until there are no more, and gives the connection back
	now           func() time.Time
	readies       sync.Pool     // chan grant, empty
	patience      time.Duration // how long to wait for a full server without a deadline

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
	freed      bool          // something came free since it was last asked whether to grow
	debt       debt          // of short stalls
	busySince  time.Time     // since when somebody has queued and no connection was idle
	grewAt     time.Time     // when a dial was last begun
	washing    int           // connections that are being reset in the background
	notBefore  time.Time     // no dial before this: back-off after a failed one
	failures   int           // dials that failed in a row
	lack       lack          // of the last dial
	failure    failure       // the last dial
	fences     int           // how often all connections were given up
	recheck    *time.Timer   // asks again whether to grow, while somebody waits
	rechecking bool

	counts counts
}

func newAdmission(maxConns int, startDial func()) *admission {
	return &admission{
		max:       maxConns,
		limit:     1,
		startDial: startDial,
		now:       time.Now,
		patience:  defaultConnectTimeout,

		maxFlightTime: 2 * catalog.Slow,
		conns:         make(map[*conn]struct{}),
		empty:         make(chan struct{}),
	}
}

// acquire returns a connection for l, in order of arrival, or nil without an error
// if l's statement rode instead. first puts l in front of the queue: its turn had
// come, but what it got was no good.
func (a *admission) acquire(ctx context.Context, l *Lease, first bool) (*conn, error) {
	now := l.asked // a moment ago: a clock can take longer to read than all of this
	if first || now.IsZero() {
		now = a.now()
	}
	a.mu.Lock()
	c, err := a.idleLocked(ctx, l, now)
	if c == nil && err == nil && l.mayRide {
		a.mu.Unlock()
		l.ride = a.rideFor(ctx, l)
		a.mu.Lock()
		c, err = a.idleLocked(ctx, l, now)
	}
	if c != nil || err != nil {
		a.mu.Unlock()
		return c, err
	}
	now = a.now()
	w := &waiter{lease: l, ride: l.ride, arrived: l.asked, ready: a.newReady()}
	_, w.bounded = ctx.Deadline()
	if a.busySince.IsZero() {
		a.busySince = now
	}
	a.queue.push(w, first)
	a.counts.emptyAcquire++
	a.hurryLocked(now)
	dials := a.planLocked(now)
	a.mu.Unlock()
	a.start(dials)

	var ended <-chan struct{}
	if l.scope != nil {
		ended = l.scope.end()
	}
	select {
	case g := <-w.ready: // the only thing that ever comes
		w.disembark()
		a.readies.Put(w.ready)
		return g.c, g.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-ended:
		err = ErrInvocationEnded
	}
	a.mu.Lock()
	a.counts.canceledAcquire++
	queued := a.queue.remove(w)
	if queued && ctx.Err() != nil {
		err = a.outOfTimeLocked(err, a.now())
	}
	a.mu.Unlock()
	switch {
	case w.flight != nil: // not sent if there is still time; else read and dropped by the lane
		w.disembark()
		if !w.ride.state.CompareAndSwap(rideWaiting, rideGivenUp) {
			w.ride.leave()
		}
	case !queued: // served at the same moment: what it got goes to the next
		if g := <-w.ready; g.c != nil {
			a.put(g.c, a.now())
		}
	}
	return nil, err
}

// newReady returns a channel for a waiter: that of another whose wait is over, if there is one.
func (a *admission) newReady() chan grant {
	if r, ok := a.readies.Get().(chan grant); ok {
		return r
	}
	return make(chan grant, 1)
}

// idleLocked returns an idle connection for l, or why l gets none; neither if it
// has to wait.
func (a *admission) idleLocked(ctx context.Context, l *Lease, now time.Time) (*conn, error) {
	if err := l.dead(ctx); err != nil {
		a.counts.canceledAcquire++
		return nil, err
	}
	if a.closed {
		return nil, ErrClosed
	}
	n := len(a.idle)
	if n == 0 {
		return nil, nil
	}
	c := a.idle[n-1]
	a.idle = a.idle[:n-1]
	a.lendLocked(c, l, now)
	return c, nil
}

// put takes a connection back that is fit for the next user.
func (a *admission) put(c *conn, now time.Time) {
	a.mu.Lock()
	a.returnedLocked(c, now)
	if a.closed {
		a.mu.Unlock()
		c.retire()
		return
	}
	armed := a.queue.len == 0 && c.wire != nil && c.wire.Queued()
	f := a.serveLocked(c, now)
	if armed {
		a.waitLocked(c)
	}
	dials := a.planLocked(now)
	a.mu.Unlock()
	a.start(dials)
	if f != nil {
		a.takeOff(f)
	}
}

// washes notes that one more connection, or one less, is being reset.
func (a *admission) washes(n int) {
	a.mu.Lock()
	a.washing += n
	a.mu.Unlock()
}

// drop forgets a connection that the server has let go of.
func (a *admission) drop(c *conn) {
	a.mu.Lock()
	a.returnedLocked(c, a.now())
	delete(a.conns, c)
	a.hurryLocked(a.now())
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

// leaves is retain for a connection that is being closed: drop follows.
func (a *admission) leaves(c *conn) {
	a.mu.Lock()
	now := a.now()
	a.returnedLocked(c, now)
	c.leaving = true
	a.hurryLocked(now)
	a.mu.Unlock()
}

// dialed adds a new connection, and returns what was lacking until then.
func (a *admission) dialed(c *conn, took time.Duration) (until lack) {
	now := a.now()
	a.mu.Lock()
	a.dialing--
	a.conns[c] = struct{}{}
	c.fenced.Store(c.fences != a.fences) // it was begun before
	a.failures, a.failure, a.notBefore = 0, failure{}, time.Time{}
	if until = a.lack; until.full { // others may have none: one more, and a look at how far it goes
		a.notBefore = now.Add(mostIfBare/2 + rand.N(mostIfBare/2))
	}
	a.lack = lack{}
	a.counts.newConns++
	a.dial.add(took)
	if len(a.conns) == 1 {
		a.freedLocked() // until now there was nothing that could come free
	}
	var f *flight
	closed := a.closed
	if !closed {
		f = a.serveLocked(c, now)
	}
	dials := a.planLocked(now)
	a.mu.Unlock()
	a.start(dials)
	switch {
	case closed:
		c.retire()
	case f != nil:
		a.takeOff(f)
	}
	return until
}

// dialFailed ends a dial that began at start. While the pool has a connection that
// is no caller's error: they wait for what there is, and the next dial waits longer
// each time. With nothing left, everybody who had been waiting when the dial began
// gets its error, once no other dial of that time is under way; who came later gets
// a dial that began later. If the server is only full, or away, they all wait on.
//
// lacks is what err comes to, beyond an error.
func (a *admission) dialFailed(err error, lacks lack, start time.Time) {
	now := a.now()
	a.mu.Lock()
	a.dialing--
	a.counts.failedDials++
	a.failures++
	a.failure = failure{err, now, now.Sub(start)}
	if lacks.err != nil && !lacks.full {
		lacks.since = cmp.Or(a.lack.since, start)
	}
	a.lack = lacks
	a.notBefore = now.Add(a.restLocked())
	switch {
	case a.lack.err != nil:
		a.parkLocked(now)
	case a.bareLocked():
		a.tellLocked(err, start)
	}
	if a.queue.len > 0 {
		a.hurryLocked(now)
	}
	dials := a.planLocked(now)
	a.emptyLocked()
	a.mu.Unlock()
	a.start(dials)
}

// serveLocked gives c to the head of the queue, or keeps it as idle. The head
// decides: a lease gets c for itself; a read takes along those reads behind it that
// fit, wherever they stand, and the flight is returned. So whoever is in front is
// served with the next connection that comes free, and nobody is overtaken by more
// than a flight, which is bounded.
func (a *admission) serveLocked(c *conn, now time.Time) *flight {
	w := a.queue.head
	if w == nil {
		c.since = now
		a.idle = append(a.idle, c)
		a.busySince = time.Time{}
		return nil
	}
	if c.lane != nil && w.ride != nil && a.queue.riders > 1 {
		f := &flight{c: c, l: &Lease{p: c.p, what: "lane", asked: now}}
		a.lendLocked(c, f.l, now)
		f.group = a.boardLocked(f, now)
		f.landing = a.queue.len > a.queue.riders
		return f
	}
	a.queue.remove(w)
	a.lendLocked(c, w.lease, now)
	a.servedLocked(w, now)
	w.ready <- grant{c: c}
	return nil
}

func (a *admission) servedLocked(w *waiter, now time.Time) {
	a.counts.emptyAcquireWait += now.Sub(w.arrived)
}

// leastRoundTrip is what a statement takes at least, with its way there and back.
func (a *admission) leastRoundTrip() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leastHold.d
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
	c.since = now
	a.freedLocked()
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
