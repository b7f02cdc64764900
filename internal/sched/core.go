package sched

import (
	"cmp"
	"errors"
	"time"
)

// ErrClosed is what everybody gets after Close.
var ErrClosed = errors.New("the scheduler is closed")

// core decides. Each event is a method that takes the time, and what is to be done then is in
// what out.done returns. Of what it calls out to, newGroup only makes something and random only draws.
type core struct {
	maxGroupTime time.Duration // how long a group may be expected to take
	newGroup     func(*Conn) *Group

	queue  queue
	stock  stock
	growth growth
	outage outage
	closed bool
	totals Totals
	out    actions
}

func newCore(cfg Config) core {
	return core{
		maxGroupTime: cfg.MaxGroupTime,
		newGroup:     cfg.Group,
		queue:        queue{group: cmp.Or(cfg.MaxGroup, 1)},
		growth:       newGrowth(cfg.Max),
		outage:       newOutage(cfg.Patience, cfg.Random),
	}
}

// take lends r an idle connection, or returns why it gets none: gone is why it has no use for one.
// It does neither if r has to wait.
func (k *core) take(r *Request, gone error, now time.Time) (*Conn, error) {
	if gone != nil {
		k.totals.Canceled++
		return nil, gone
	}
	if k.closed {
		return nil, ErrClosed
	}
	c := k.stock.pop()
	if c != nil {
		k.lend(c, r, now)
	}
	return c, nil
}

// wait queues r, which has found nothing idle. first puts it in front.
func (k *core) wait(r *Request, first bool, now time.Time) {
	k.growth.queues(now)
	k.queue.push(r, first)
	k.totals.Waits++
	k.outage.hurry(&k.stock, now)
	k.plan(now)
}

// leave takes r, whose ctx or invocation has ended with err, out of the queue. queued: it was there, and
// gets the returned error; else it has its answer, or is on its way.
func (k *core) leave(r *Request, err error, timedOut bool, now time.Time) (queued bool, _ error) {
	k.totals.Canceled++
	queued = k.queue.remove(r)
	if queued && timedOut && k.stock.isBare() {
		err = k.outage.outOfTime(err, now)
	}
	return queued, err
}

// release takes back a connection that is fit for the next user. With waits it has something to send.
func (k *core) release(c *Conn, waits bool, now time.Time) {
	k.retain(c, now)
	k.stock.waits(c, waits)
	if k.closed {
		k.out.close = c
		return
	}
	waits = waits && k.queue.len == 0
	k.serve(c, now)
	if waits {
		k.stock.joinLast(c)
		k.out.join, k.out.joinIn = c, joinWithin
	}
	k.plan(now)
}

// joinDue reports whether c has waited for company enough and is still idle. Then it is nobody's
// until its owner gives it back.
func (k *core) joinDue(c *Conn, now time.Time) bool {
	due, more := k.stock.joinDue(c, now)
	if more > 0 {
		k.out.join, k.out.joinIn = c, more
	}
	return due
}

// retain ends c's hold while c stays counted.
func (k *core) retain(c *Conn, now time.Time) {
	if took, was := k.stock.end(c, now); was {
		k.growth.held(took)
	}
}

// leaves is retain for a connection that is being closed.
func (k *core) leaves(c *Conn, now time.Time) {
	k.retain(c, now)
	k.stock.leaves(c)
	k.outage.hurry(&k.stock, now)
}

// drop forgets a connection that the server has let go of.
func (k *core) drop(c *Conn, now time.Time) {
	k.retain(c, now)
	k.stock.drop(c)
	k.outage.hurry(&k.stock, now)
	k.plan(now)
	k.endIfEmpty()
}

// dialed adds a new connection, and returns what was lacking until then.
func (k *core) dialed(c *Conn, took time.Duration, now time.Time) (until Lack) {
	k.growth.dialEnded()
	k.stock.add(c)
	until = k.outage.over(now)
	k.totals.Opened++
	k.growth.dialed(took)
	if len(k.stock.all) == 1 {
		k.growth.freed() // until now there was nothing that could come free
	}
	if k.closed {
		k.out.close = c
	} else {
		k.serve(c, now)
	}
	k.plan(now)
	return until
}

// dialFailed ends a dial that began at start. While there is a connection
// that is no caller's error: they wait for what there is, and the next dial waits longer
// each time. With nothing left, everybody who had been waiting when the dial began
// gets its error, once no other dial of that time is under way; who came later gets
// a dial that began later. If something is only lacking, they all wait on.
func (k *core) dialFailed(err error, lacks Lack, start, now time.Time) {
	k.growth.dialEnded()
	k.totals.FailedDials++
	bare := k.stock.isBare()
	k.outage.failed(err, lacks, bare, start, now)
	if lacks.Full {
		k.totals.RefusedDials++
	}
	if lacks.Err != nil {
		k.growth.lower(len(k.stock.all) + k.growth.dialing) // the growth rule decides anew
	}
	switch {
	case !bare:
	case lacks.Err != nil: // also beside another dial: of two that take turns one is always under way
		k.fail(lacks.Err, func(r *Request) bool { return !k.outage.bearable(r, now) })
	default:
		another := k.growth.dialing > 0
		k.fail(err, func(r *Request) bool { return k.outage.concerns(r, start, another) })
	}
	if k.queue.len > 0 {
		k.outage.hurry(&k.stock, now)
	}
	k.plan(now)
	k.endIfEmpty()
}

// tick is what actions.check asks for.
func (k *core) tick(now time.Time) {
	k.growth.tick(&k.queue, now)
	k.plan(now)
}

// setFloor has n connections opened, and reopened, without waiting for demand.
func (k *core) setFloor(n int, now time.Time) {
	k.growth.setFloor(n)
	k.plan(now)
}

// replace has a connection dialed for one that is about to be closed, if there is room for both.
func (k *core) replace(now time.Time) bool {
	return !k.closed && !k.outage.isResting(now) && k.dial(maxDials, now)
}

func (k *core) setMaxGroupTime(d time.Duration) { k.maxGroupTime = d }

// nextGroup has those board g who are next. It is false if g's turn is over, because the head of the
// queue does not share or there is none. One that has no company gets the connection for itself, unless it
// may be alone.
func (k *core) nextGroup(g *Group, alone bool, now time.Time) bool {
	if k.closed || !g.isNext(&k.queue, alone) {
		return false
	}
	k.growth.held(g.conn.turn(now)) // to the growth rule each group is a turn of its own
	k.totals.Waited += g.board(&k.queue, k.maxGroupTime, now)
	k.plan(now)
	return true
}

// takeIdle removes the idle connections for which surplus is true, from the
// longest idle on, and lowers the limit with them.
func (k *core) takeIdle(surplus func(c *Conn, idle, open int) bool) []*Conn {
	taken := k.stock.takeIdle(surplus)
	k.growth.lower(k.growth.limit - len(taken))
	return taken
}

// fence gives up all connections, unless c is given up already, and takes those that are idle.
func (k *core) fence(c *Conn) (idle []*Conn, first bool) {
	if !k.stock.fence(c) {
		return nil, false
	}
	idle = k.stock.takeAll()
	k.growth.lower(len(k.stock.all) - len(idle)) // the growth rule decides anew
	return idle, true
}

// close refuses everybody from now on, and returns the idle connections.
func (k *core) close() (idle []*Conn) {
	if k.closed {
		return nil
	}
	k.closed = true
	k.fail(ErrClosed, func(*Request) bool { return true })
	idle = k.stock.takeAll()
	k.endIfEmpty()
	return idle
}

func (k *core) endIfEmpty() {
	k.out.empty = k.closed && len(k.stock.all) == 0 && k.growth.dialing == 0
}

// serve gives c to the head of the queue, or keeps it as idle. The head
// decides: one that wants a connection of its own gets c; one that shares takes along those behind it that
// share and fit, wherever they stand. So whoever is in front is
// served with the next connection that comes free, and nobody is overtaken by more
// than a group, which is bounded.
func (k *core) serve(c *Conn, now time.Time) {
	r := k.queue.head
	if r == nil {
		k.stock.keep(c, now)
		k.growth.rests()
		return
	}
	if c.Shares && r.Share != nil && k.queue.sharing > 1 {
		g := k.newGroup(c)
		g.begin(c)
		k.lend(c, &g.Holder, now)
		k.totals.Waited += g.board(&k.queue, k.maxGroupTime, now)
		k.out.carry = g
		return
	}
	k.queue.remove(r)
	k.lend(c, r, now)
	k.totals.Waited += now.Sub(r.Asked)
	k.out.tell(r, c, nil)
}

func (k *core) lend(c *Conn, r *Request, now time.Time) {
	k.stock.lend(c, r, now)
	k.totals.Acquires++
}

// fail ends the wait of those for whom it is hopeless.
func (k *core) fail(err error, hopeless func(*Request) bool) {
	for r := k.queue.head; r != nil; {
		next := r.next
		if hopeless(r) {
			k.queue.remove(r)
			k.out.tell(r, nil, err)
		}
		r = next
	}
}

// plan has dials begin, as many as are wanted now, and looks for a standstill.
func (k *core) plan(now time.Time) {
	if k.closed {
		return
	}
	most := k.outage.mostDials(k.growth.grewAt, now)
	for k.growth.wants(&k.queue, len(k.stock.all), k.outage.isResting(now), now) && k.dial(most, now) {
		k.growth.paid()
	}
	if k.growth.check(&k.queue, len(k.stock.all)) {
		k.out.check = stallTick
	}
	for k.queue.inside > 0 && k.isFull() && allAwaited(&k.queue, &k.stock) && k.breakStandstill() {
	}
}

func (k *core) dial(most int, now time.Time) bool {
	if !k.growth.begin(len(k.stock.all), most, now) {
		return false
	}
	k.out.dials++
	return true
}

// isFull reports whether somebody waits and only what is held can come free: what is
// dialed, or cleaned in the background, would be.
func (k *core) isFull() bool {
	return k.queue.len > 0 && k.stock.held == len(k.stock.all) && len(k.stock.all) >= k.growth.max
}

// breakStandstill fails the youngest who waits inside a callback that holds a
// connection, and all who wait in the same one, since it is not over before each has an answer.
func (k *core) breakStandstill() bool {
	youngest, held := youngestNested(&k.queue, &k.stock)
	for r := youngest; r != nil; {
		older := r.prev
		if r.Within.holds(held) {
			k.queue.remove(r)
			k.totals.Nested++
			k.out.tell(r, nil, &NestedError{Held: held})
		}
		r = older
	}
	return youngest != nil
}
