package sched

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// ErrClosed is what everybody gets after Close.
var ErrClosed = errors.New("the scheduler is closed")

// NestedError is what those get in a standstill who could never be served: all connections are held, and everybody who holds one waits for
// another. PostgreSQL cannot see it, and that somebody waits who holds one is no sign of it: of three goroutines of an invocation one may
// work while two wait. It is certain, and broken at once, if every connection is held by a callback and with the ctx of each somebody waits:
// the callback cannot be over before. Every other kind (of what is held outside a callback; across two pools) lasts until a deadline.
type NestedError struct {
	Held *Request // by the callback in which it was asked for
}

func (*NestedError) Error() string { return "all connections are held by those who wait for another" }

// core decides. Each event is a method that takes the time, and what is to be done then is in what out.done returns; what an event is is
// said at the Scheduler's method that hands it in. Of what core calls out to, cfg.Group only makes something and cfg.Random only draws.
type core struct {
	cfg    Config
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
		cfg:    cfg,
		queue:  queue{group: cmp.Or(cfg.MaxGroup, 1)},
		growth: newGrowth(cfg.Max),
		outage: outage{patience: cfg.Patience, random: cfg.Random},
	}
}

// take lends r an idle connection, or returns why it gets none: gone, because it has no use for one. It does neither if r has to wait.
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
	if k.growth.busySince.IsZero() {
		k.growth.busySince = now
	}
	k.queue.push(r, first)
	k.totals.Waits++
	k.outage.hurry(&k.stock, now)
	k.plan(now)
}

// leave takes r, whose ctx or invocation has ended with err, out of the queue. queued: it was there, and gets the returned error; else it
// has its answer, or is on its way.
func (k *core) leave(r *Request, err error, timedOut bool, now time.Time) (queued bool, _ error) {
	k.totals.Canceled++
	queued = k.queue.remove(r)
	if queued && timedOut && k.stock.isBare() {
		err = k.outage.outOfTime(err, now)
	}
	return queued, err
}

func (k *core) release(c *Conn, waits bool, now time.Time) {
	k.retain(c, now)
	c.waits = waits
	waits = waits && !k.closed && k.queue.len == 0
	k.serve(c, now)
	if waits {
		k.stock.joinLast(c)
		k.out.join, k.out.joinIn = c, joinWithin
	}
	k.plan(now)
}

// joinDue reports whether c has waited for company enough and is still idle. Then it is nobody's until its owner gives it back.
func (k *core) joinDue(c *Conn, now time.Time) bool {
	due, more := k.stock.joinDue(c, now)
	if more > 0 {
		k.out.join, k.out.joinIn = c, more
	}
	return due
}

func (k *core) retain(c *Conn, now time.Time) {
	if took, was := k.stock.end(c, now); was {
		k.growth.held(took)
	}
}

func (k *core) leaves(c *Conn, now time.Time) {
	k.retain(c, now)
	c.leaving = true
	k.outage.hurry(&k.stock, now)
}

func (k *core) drop(c *Conn, now time.Time) {
	k.retain(c, now)
	k.stock.drop(c)
	k.outage.hurry(&k.stock, now)
	k.plan(now)
}

func (k *core) dialed(c *Conn, took time.Duration, now time.Time) (until Lack) {
	k.growth.dialEnded()
	k.stock.add(c)
	until = k.outage.over(now)
	k.totals.Opened++
	k.growth.dial.add(took)
	if len(k.stock.all) == 1 {
		k.growth.freed() // until now there was nothing that could come free
	}
	k.serve(c, now)
	k.plan(now)
	return until
}

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
}

func (k *core) tick(now time.Time) {
	k.growth.tick(&k.queue, now)
	k.plan(now)
}

func (k *core) setFloor(n int, now time.Time) {
	k.growth.floor = n
	k.plan(now)
}

func (k *core) replace(now time.Time) bool {
	return !k.closed && !k.outage.isResting(now) && k.dial(maxDials, now)
}

func (k *core) nextGroup(g *Group, alone bool, now time.Time) bool {
	head := k.queue.head
	if k.closed || g.conn.holder != &g.Holder || head == nil || head.Share == nil || k.queue.sharing == 1 && !alone {
		return false
	}
	k.growth.held(g.conn.turn(now)) // to the growth rule each group is a turn of its own
	k.totals.Waited += g.board(&k.queue, k.cfg.MaxGroupTime, now)
	k.plan(now)
	return true
}

func (k *core) takeIdle(surplus func(c *Conn, idle, open int) bool) []*Conn {
	taken := k.stock.takeIdle(surplus)
	k.growth.lower(k.growth.limit - len(taken))
	return taken
}

func (k *core) fence(c *Conn) (idle []*Conn, first bool) {
	if !k.stock.fence(c) {
		return nil, false
	}
	idle = k.stock.takeAll()
	k.growth.lower(len(k.stock.all) - len(idle)) // the growth rule decides anew
	return idle, true
}

func (k *core) close() (idle []*Conn) {
	k.closed = true
	k.fail(ErrClosed, func(*Request) bool { return true })
	return k.stock.takeAll()
}

// isEmpty reports whether k is closed, and nothing is left.
func (k *core) isEmpty() bool { return k.closed && len(k.stock.all) == 0 && k.growth.dialing == 0 }

// serve gives c to the head of the queue, with those who share it, or keeps it as idle, or has it closed.
func (k *core) serve(c *Conn, now time.Time) {
	r := k.queue.head
	switch {
	case k.closed:
		k.out.close = c
	case r == nil:
		k.stock.keep(c, now)
		k.growth.busySince = time.Time{}
	case c.Shares && r.Share != nil && k.queue.sharing > 1:
		g := k.cfg.Group(c)
		g.conn = c
		k.lend(c, &g.Holder, now)
		k.totals.Waited += g.board(&k.queue, k.cfg.MaxGroupTime, now)
		k.out.carry = g
	default:
		k.queue.remove(r)
		k.lend(c, r, now)
		k.totals.Waited += now.Sub(r.Asked)
		k.out.tell(r, c, nil)
	}
}

func (k *core) lend(c *Conn, r *Request, now time.Time) {
	k.totals.Acquires++
	k.stock.lend(c, r, now)
}

// fail ends the wait of those for whom it is hopeless, and says how many they are.
func (k *core) fail(err error, hopeless func(*Request) bool) (failed int64) {
	for r := k.queue.head; r != nil; {
		next := r.next
		if hopeless(r) {
			k.queue.remove(r)
			k.out.tell(r, nil, err)
			failed++
		}
		r = next
	}
	return failed
}

// plan has dials begin, as many as are wanted now, and looks for a standstill.
func (k *core) plan(now time.Time) {
	if k.closed {
		return
	}
	most := k.outage.mostDials(k.growth.grewAt, now)
	for !k.outage.isResting(now) && k.growth.wants(&k.queue, len(k.stock.all), now) && k.dial(most, now) {
		k.growth.debt = debt{} // it is paid
	}
	if k.growth.check(&k.queue, len(k.stock.all)) {
		k.out.check = stallTick
	}
	// What is dialed, or cleaned in the background, would come free.
	for k.queue.inside > 0 && k.stock.held == len(k.stock.all) && len(k.stock.all) >= k.growth.max {
		held := breakable(&k.queue, &k.stock)
		if held == nil {
			break
		}
		// That callback is not over before each who waits in it has an answer.
		k.totals.Nested += k.fail(&NestedError{Held: held}, func(r *Request) bool { return r.Within.holds(held) })
	}
}

func (k *core) dial(most int, now time.Time) bool {
	if !k.growth.begin(len(k.stock.all), most, now) {
		return false
	}
	k.out.dials++
	return true
}

// breakable is what the callback holds in which the youngest waits who waits in one that holds a connection, if each connection is held
// by a callback in which somebody waits; nil: one is not.
func breakable(q *queue, s *stock) (held *Request) {
	awaited := make(map[*Request]bool)
	for r := q.head; r != nil; r = r.next {
		for w := r.Within; w != nil; w = w.Outer {
			awaited[w.Holds] = true
		}
	}
	if slices.ContainsFunc(s.all, func(c *Conn) bool { return !awaited[c.holder] }) {
		return nil
	}
	for r := q.tail; r != nil; r = r.prev {
		for _, c := range s.all {
			if r.Within.holds(c.holder) {
				return c.holder
			}
		}
	}
	return nil
}
