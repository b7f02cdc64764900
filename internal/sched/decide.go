package sched

import (
	"cmp"
	"errors"
	"time"
)

// ErrClosed is what every request gets after Close.
var ErrClosed = errors.New("the scheduler is closed")

// core decides. Each event is a method that gets the time; afterwards out.done returns what is to be done. If a method here has no comment, the
// method of Scheduler with the same name explains the event. Of the functions of cfg, core calls only MaxGroupTime, Group and Random.
type core struct {
	cfg       Config
	queue     queue
	stock     stock
	growth    growth
	outage    outage
	admission admission
	closed    bool
	totals    Totals
	why       string // why the limit last moved
	out       actions
}

func newCore(cfg Config) *core {
	k := &core{
		cfg:    cfg,
		queue:  queue{group: cmp.Or(cfg.MaxGroup, 1)},
		growth: newGrowth(cfg.Least, cfg.Max),
		outage: outage{patience: cfg.Patience, random: cfg.Random},
	}
	k.admission = admission{maxQueue: cfg.MaxQueue, fair: cfg.Fair, queue: &k.queue, stock: &k.stock, outage: &k.outage, leastHold: &k.growth.leastHold}
	return k
}

// take lends r an idle connection. It returns an error if r gets none: gone, if that is not nil. It returns nil and nil if r has to wait. If ahead is
// true, r would wait in front of others, so the tuner's cap does not count.
func (k *core) take(r *Request, ahead bool, gone error, now time.Time) (*Conn, error) {
	if gone != nil {
		k.totals.Canceled++
		return nil, gone
	}
	if k.closed {
		return nil, ErrClosed
	}
	if !ahead && r.Within == nil && k.stock.held >= k.growth.room(&k.queue) {
		return nil, nil
	}
	c := k.stock.pop()
	if c != nil {
		k.growth.serves(1)
		k.lend(c, r, now)
	}
	return c, nil
}

// wait queues r, for which no connection was idle, or returns the error that refuses r. If first is true, r goes in front of all others.
func (k *core) wait(r *Request, first bool, now time.Time) error {
	k.admission.bound(r, now)
	if k.admission.watch(now); k.admission.isFull() || k.admission.isPressed() {
		k.yields(now)
	}
	may, other := k.admission.admits(r, first, now)
	if other != nil {
		k.out.tell(other, nil, k.tooLate(other, now))
	}
	if !may {
		k.totals.Refused++
		if k.stock.isBare() && !k.outage.isResting(now) {
			k.dial(1, now) // for the next callers
		}
		return k.admission.noTime(r, now)
	}
	k.growth.waits(now)
	k.queue.push(r, first)
	k.totals.Waits++
	k.outage.hurry(&k.stock, now)
	k.plan(now)
	return nil
}

// leave takes r, which gives up because of err, out of the queue. If queued is true, r was in the queue, and the returned error is for its caller.
// If it is false, r already has an answer, or is in a group.
func (k *core) leave(r *Request, err error, timedOut bool, now time.Time) (queued bool, _ error) {
	k.totals.Canceled++
	queued = k.queue.remove(r)
	if queued && timedOut && k.stock.isBare() {
		err = k.outage.outOfTime(err, now)
	}
	return queued, err
}

// tooLate refuses r, whose latest start has come. It returns nil if r is no longer queued, because it has an answer or is in a group.
func (k *core) tooLate(r *Request, now time.Time) error {
	if !k.queue.remove(r) {
		return nil
	}
	k.totals.Refused++
	if r.bounded {
		k.admission.press()
	}
	return k.admission.noTime(r, now)
}

// next returns the request whose turn it is, or nil if nobody waits. It refuses the requests that are late by now.
func (k *core) next(now time.Time) *Request {
	for {
		r := k.admission.turn(now)
		if r == nil || !r.isLate(now) {
			return r
		}
		k.out.tell(r, nil, k.tooLate(r, now))
	}
}

// serve lends c to the request whose turn it is, or to a group if that request shares. If nobody waits, or as many connections are lent as may be, c
// becomes idle, and serve returns true. After Close, and while there are more connections than the ceiling allows, c is closed.
func (k *core) serve(c *Conn, now time.Time) (idle bool) {
	r := k.next(now)
	switch {
	case k.closed || k.isOver():
		k.discard(c)
	case r == nil:
		k.stock.keep(c, now)
		k.growth.unused(len(k.stock.all), k.stock.held, now)
		return true
	case k.stock.held >= k.growth.room(&k.queue):
		k.stock.keep(c, now)
		return true
	case c.Shares && r.Share != nil && k.queue.sharing > 1:
		g := k.cfg.Group(c)
		g.conn = c
		k.lend(c, &g.Holder, now)
		k.board(g, now)
		k.out.takeOff(g)
	default:
		k.queue.remove(r)
		r.charge(k.admission.cost(r))
		k.lend(c, r, now)
		k.growth.serves(1)
		k.totals.Waited += now.Sub(r.Asked)
		k.out.tell(r, c, nil)
	}
	return false
}

// unpark lends idle connections while somebody waits and more may be lent.
func (k *core) unpark(now time.Time) {
	for k.queue.head != nil && len(k.stock.idle) > 0 && k.stock.held < k.growth.room(&k.queue) {
		k.serve(k.stock.pop(), now)
	}
}

// board moves the requests whose turn it is to g.
func (k *core) board(g *Group, now time.Time) {
	k.totals.Waited += g.board(&k.queue, k.cfg.MaxGroupTime(), now)
	k.growth.serves(len(g.Requests))
}

func (k *core) lend(c *Conn, r *Request, now time.Time) {
	k.totals.Acquires++
	k.stock.lend(c, r, now)
}

func (k *core) release(c *Conn, wait time.Duration, now time.Time) {
	k.ends(c, now)
	c.wait = wait
	if k.serve(c, now) && wait > 0 {
		if wait <= JoinWithin {
			k.stock.joinLast(c)
		}
		k.out.join, k.out.joinIn = c, wait
	}
	k.plan(now)
}

// joinDue reports whether c is still idle and Send must be called for it now. If so, c is not idle any more.
func (k *core) joinDue(c *Conn, now time.Time) bool {
	due, more := k.stock.joinDue(c, now)
	if more > 0 {
		k.out.join, k.out.joinIn = c, more
	}
	return due
}

func (k *core) retain(c *Conn, now time.Time) {
	k.ends(c, now)
	k.unpark(now)
}

// ends ends the hold of c, if there is one.
func (k *core) ends(c *Conn, now time.Time) {
	if took, was := k.stock.end(c, now); was {
		k.held(c, took)
	}
}

// held notes that a turn of c is over, and took so long. The growth rule counts each turn as a hold, those of groups too.
func (k *core) held(c *Conn, took time.Duration) {
	k.growth.held(took, k.queue.len+k.stock.held)
	switch {
	case c.gaveUp == givenUpLate:
		k.admission.press()
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
	k.ends(c, now)
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
		k.growth.freed() // until now there was no connection at all, so that stall is no reason for more dials
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
	switch open := len(k.stock.all) + k.growth.dialing; {
	case lacks.Full:
		k.lower(open, MovedByFull)
	case lacks.Err != nil:
		k.lower(open, MovedByAway)
	}
	switch {
	case !bare:
	case lacks.Err != nil: // even while another dial runs: if two dials take turns, one always runs
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

// epoch ends a part of an epoch (see epochs), and closes the connections that the tuner has no use for.
func (k *core) epoch(now time.Time) {
	if k.closed || !k.growth.epochs.running {
		return
	}
	was := k.growth.limit
	after, why := k.growth.epoch(len(k.stock.all), k.stock.held, &k.queue, k.cfg.Random, now)
	k.out.epoch = after
	k.moved(was, why)
	for k.growth.spares(k.stock.usable()) && len(k.stock.idle) > 0 {
		k.discard(k.stock.shift())
	}
	k.plan(now)
}

// yields has the tuner give up a trial of fewer connections that would make callers miss their deadlines, or be refused.
func (k *core) yields(now time.Time) {
	if after := k.growth.yields(now); after > 0 {
		k.out.epoch = after
		k.unpark(now)
	}
}

// isOver reports whether there are more connections than the ceiling allows. Dials do not count: what one opens is closed if it is too much.
func (k *core) isOver() bool {
	n := k.growth.ceiling()
	return len(k.stock.all) > n && k.stock.usable() > n
}

// discard has c closed, which nobody uses. From now on c does not count as usable.
func (k *core) discard(c *Conn) {
	c.leaving = true
	k.out.close = append(k.out.close, c)
}

func (k *core) nextGroup(g *Group, alone bool, now time.Time) bool {
	if k.closed || g.conn.holder != &g.Holder || k.isOver() || k.stock.held > k.growth.room(&k.queue) {
		return false
	}
	if r := k.next(now); r == nil || r.Share == nil || k.queue.sharing == 1 && !alone {
		return false
	}
	k.held(g.conn, g.conn.turn(now))
	k.board(g, now)
	k.plan(now)
	return true
}

func (k *core) takeIdle(surplus func(c *Conn, idle, open int) bool) []*Conn {
	taken := k.stock.takeIdle(surplus)
	if len(taken) > 0 && !k.growth.epochs.running { // while epochs run, what is idle is beyond the limit
		k.lower(k.growth.limit-len(taken), MovedByIdle)
	}
	return taken
}

func (k *core) fence(c *Conn) (idle []*Conn, first bool) {
	if !k.stock.fence(c) {
		return nil, false
	}
	idle = k.stock.takeAll()
	k.lower(len(k.stock.all)-len(idle), MovedByFence)
	return idle, true
}

func (k *core) close() (idle []*Conn) {
	k.closed = true
	k.fail(ErrClosed, func(*Request) bool { return true })
	return k.stock.takeAll()
}

// isEmpty reports whether k is closed and no connection, no dial and no place outside is left.
func (k *core) isEmpty() bool {
	return k.closed && len(k.stock.all) == 0 && k.growth.dialing == 0 && k.growth.outside.used == 0
}

// plan begins as many dials as are wanted now, and ends a standstill if there is one.
func (k *core) plan(now time.Time) {
	if k.closed {
		return
	}
	if k.admission.isPressed() {
		k.yields(now)
	}
	k.unpark(now)
	if k.growth.isDue(len(k.stock.all), now) {
		k.out.epoch = k.growth.begins(len(k.stock.all), now)
	}
	most := k.outage.mostDials(k.growth.grewAt, now)
	for !k.outage.isResting(now) && (k.growth.wants(&k.queue, len(k.stock.all), now) || k.isStuck()) && k.dial(most, now) {
		k.growth.debt = debt{} // this dial was the answer to the stalls until now
	}
	if k.growth.check(&k.queue, len(k.stock.all)) {
		k.out.check = stallTick
	}
	k.endStandstill()
}

// isStuck reports whether callers wait, and nothing that is open or being dialed can serve them: all connections are being closed.
func (k *core) isStuck() bool {
	return k.queue.len > 0 && k.growth.dialing == 0 && k.stock.isBare()
}

func (k *core) dial(most int, now time.Time) bool {
	was := k.growth.limit
	if !k.growth.begin(len(k.stock.all), most, now) {
		return false
	}
	k.moved(was, MovedByDemand)
	k.out.dials++
	return true
}

// lower sets the limit to n, and notes why.
func (k *core) lower(n int, why string) {
	was := k.growth.limit
	k.growth.lower(n)
	k.moved(was, why)
}

// moved notes why the limit is not what it was, if it is not.
func (k *core) moved(was int, why string) {
	if is := k.growth.limit; is != was {
		k.why = why
		k.out.moved(was, is, why)
	}
}
