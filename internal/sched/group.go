package sched

import (
	"sync"
	"time"
)

// Group is a connection's turn with several requests that share it, and then with those that come
// after them.
type Group struct {
	Owner  any     // never looked at here
	Holder Request // what stands for all of them as the one that holds the connection; its Owner is the pool's

	// Whoever carries the group reads these, from Carry or a Next that is true until the next Next.
	Requests []*Request
	Last     bool // a request for a connection of its own waits behind them

	conn   *Conn
	aboard sync.WaitGroup // those who have boarded and not yet gone on with their answers
}

// begin gives c to g.
func (g *Group) begin(c *Conn) { g.conn = c }

// board takes from the queue those who are g's next, as far as they are not expected to take longer than most, and says
// how long they have waited together.
func (g *Group) board(q *queue, most time.Duration, now time.Time) (waited time.Duration) {
	g.Requests = make([]*Request, 0, min(q.sharing, q.group))
	var cost time.Duration
	for r := q.head; r != nil && q.sharing > 0 && len(g.Requests) < q.group; {
		next := r.next
		if r.Share != nil {
			if cost += r.Share.Cost(); cost > most && len(g.Requests) > 0 {
				break
			}
			q.remove(r)
			r.aboard = &g.aboard
			g.aboard.Add(1)
			g.Requests = append(g.Requests, r)
			waited += now.Sub(r.Asked)
		}
		r = next
	}
	g.Last = q.len > q.sharing
	return waited
}

// isNext reports whether a group goes on on g's connection: the head of the queue shares, and has company or may be alone.
func (g *Group) isNext(q *queue, alone bool) bool {
	return g.conn.holder == &g.Holder && q.head != nil && q.head.Share != nil && (q.sharing > 1 || alone)
}
