package sched

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// ErrClosed is what every request gets after Close.
var ErrClosed = errors.New("the scheduler is closed")

// NestedError breaks a standstill: all connections are held, and all who hold one wait for another. PostgreSQL cannot see it. That somebody who holds
// a connection waits does not prove it: of an invocation's three goroutines one may work while two wait. It is certain, and broken at once, when
// every connection is held by a callback and a request made with that callback's ctx waits, because the callback cannot end before that request has
// its answer. Other standstills (connections held outside a callback, or in two pools) last until a deadline.
type NestedError struct {
	Held *Request // what is held by the callback in which the request was made
}

func (*NestedError) Error() string { return "all connections are held by those who wait for another" }

// core decides. Each event is a method that takes the time; out.done returns what is then to be done. The method of Scheduler that hands an event in
// says what it is. core calls no function of cfg but MaxGroupTime, Group and Random.
type core struct {
	cfg       Config
	queue     queue
	stock     stock
	growth    growth
	outage    outage
	admission admission
	fairness  fairness
	closed    bool
	totals    Totals
	out       actions
}

func newCore(cfg Config) core {
	return core{
		cfg:    cfg,
		queue:  queue{group: cmp.Or(cfg.MaxGroup, 1)},
		growth: newGrowth(cfg.Max),
		outage: outage{patience: cfg.Patience, random: cfg.Random},
	}
}

// take lends r an idle connection, or returns why it gets none: gone, if that is not nil. It returns neither if r has to wait.
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

// wait queues r, which has found nothing idle, or returns why r is refused. With first, r goes in front of all others.
func (k *core) wait(r *Request, first bool, now time.Time) error {
	k.bound(r, now)
	if !k.admits(r, first, now) {
		k.totals.Refused++
		return k.noTime(r, now)
	}
	if k.growth.busySince.IsZero() {
		k.growth.busySince = now
	}
	k.queue.push(r, first)
	k.totals.Waits++
	k.outage.hurry(&k.stock, now)
	k.plan(now)
	return nil
}

// leave takes r, which gives up because of err, out of the queue. queued means that it was there and gets the returned error. Else it has an answer,
// or is in a group.
func (k *core) leave(r *Request, err error, timedOut bool, now time.Time) (queued bool, _ error) {
	k.totals.Canceled++
	queued = k.queue.remove(r)
	if queued && timedOut && k.stock.isBare() {
		err = k.outage.outOfTime(err, now)
	}
	return queued, err
}

// tooLate refuses r, whose latest start has come. It returns nil if r is not queued: r has an answer, or travels with a group.
func (k *core) tooLate(r *Request, now time.Time) error {
	if !k.queue.remove(r) {
		return nil
	}
	k.totals.Refused++
	if r.bounded {
		k.press()
	}
	return k.noTime(r, now)
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

// joinDue reports whether c is idle and has waited long enough for company. If so, c is out of the stock until Release or Drop.
func (k *core) joinDue(c *Conn, now time.Time) bool {
	due, more := k.stock.joinDue(c, now)
	if more > 0 {
		k.out.join, k.out.joinIn = c, more
	}
	return due
}

func (k *core) retain(c *Conn, now time.Time) {
	if took, was := k.stock.end(c, now); was {
		k.held(c, took)
	}
}

// held notes that a turn of c, which took so long, is over. The growth rule counts each group as a hold.
func (k *core) held(c *Conn, took time.Duration) {
	k.growth.held(took)
	switch {
	case c.gaveUp == givenUpLate:
		k.press()
	case c.gaveUp == whole && !c.leaving:
		k.admission.service.add(took)
	}
}

func (k *core) leaves(c *Conn, now time.Time) {
	c.leaving = true
	k.retain(c, now)
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
	k.stock.add(c, now)
	until = k.outage.over(now)
	k.totals.Opened++
	k.growth.dial.add(took)
	if len(k.stock.all) == 1 {
		k.growth.freed() // the stall until now was for want of any connection
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
		k.growth.lower(len(k.stock.all) + k.growth.dialing)
	}
	switch {
	case !bare:
	case lacks.Err != nil: // also while another dial runs: if two alternate, one always does
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
	if k.closed || g.conn.holder != &g.Holder {
		return false
	}
	if r := k.next(now); r == nil || r.Share == nil || k.queue.sharing == 1 && !alone {
		return false
	}
	k.held(g.conn, g.conn.turn(now))
	k.totals.Waited += g.board(&k.queue, k.cfg.MaxGroupTime(), now)
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
	k.growth.lower(len(k.stock.all) - len(idle))
	return idle, true
}

func (k *core) close() (idle []*Conn) {
	k.closed = true
	k.fail(ErrClosed, func(*Request) bool { return true })
	return k.stock.takeAll()
}

// isEmpty reports whether k is closed and has no connection and no dial left.
func (k *core) isEmpty() bool { return k.closed && len(k.stock.all) == 0 && k.growth.dialing == 0 }

// next returns the request whose turn it is. It refuses those that are late by now.
func (k *core) next(now time.Time) *Request {
	for {
		r := k.turn(now)
		if r == nil || !r.isLate(now) {
			return r
		}
		k.out.tell(r, nil, k.tooLate(r, now))
	}
}

// serve lends c to the head of the queue, or to a group if the head shares. It keeps c as idle if nobody waits, and has it closed after Close.
func (k *core) serve(c *Conn, now time.Time) {
	r := k.next(now)
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
		k.totals.Waited += g.board(&k.queue, k.cfg.MaxGroupTime(), now)
		k.out.carry = g
	default:
		k.queue.remove(r)
		r.charge(k.cost(r))
		k.lend(c, r, now)
		k.totals.Waited += now.Sub(r.Asked)
		k.out.tell(r, c, nil)
	}
}

func (k *core) lend(c *Conn, r *Request, now time.Time) {
	k.totals.Acquires++
	k.stock.lend(c, r, now)
}

// fail ends with err the wait of all requests for which hopeless is true, and returns how many they are.
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

// plan has as many dials begin as are wanted now, and breaks a standstill.
func (k *core) plan(now time.Time) {
	if k.closed {
		return
	}
	most := k.outage.mostDials(k.growth.grewAt, now)
	for !k.outage.isResting(now) && k.growth.wants(&k.queue, len(k.stock.all), now) && k.dial(most, now) {
		k.growth.debt = debt{} // the dial pays it
	}
	if k.growth.check(&k.queue, len(k.stock.all)) {
		k.out.check = stallTick
	}
	// It is none while a connection is dialed, or cleaned in the background: that one will come free.
	for k.queue.inside > 0 && k.stock.held == len(k.stock.all) && len(k.stock.all) >= k.growth.max {
		held := breakable(&k.queue, &k.stock)
		if held == nil {
			break
		}
		// The callback can go on only when every request in it has an answer.
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

// breakable finds a standstill: every connection is held by a callback in which a request waits. It returns what the callback around the youngest of
// these requests holds; nil: there is no standstill.
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
