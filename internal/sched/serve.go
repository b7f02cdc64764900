package sched

import "time"

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
		k.growth.unused()
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
