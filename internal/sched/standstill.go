package sched

import "slices"

// NestedError ends a standstill: all connections are held, and everybody who holds one waits for another. PostgreSQL cannot see a standstill. If an
// invocation waits while it holds a connection, that is no proof: one of its goroutines may work while two wait. The standstill is certain when every
// connection is held by a callback (as InTx has), and a request with that callback's ctx waits: the callback cannot end before its request has an
// answer. Then it is ended at once. Other standstills (connections held outside a callback, or in two pools) last until a deadline.
type NestedError struct {
	Held *Request // the request whose connection is held by the callback in which the refused request was made
}

func (*NestedError) Error() string { return "all connections are held by those who wait for another" }

// endStandstill ends a standstill, if there is one. While a connection is being dialed or cleaned there is none: that one will come free.
func (k *core) endStandstill() {
	for k.queue.inside > 0 && k.stock.held == len(k.stock.all) && len(k.stock.all) >= k.growth.ceiling() {
		held := breakable(&k.queue, &k.stock)
		if held == nil {
			break
		}
		// The callback can go on only when every request in it has an answer.
		k.totals.Nested += k.fail(&NestedError{Held: held}, func(r *Request) bool { return r.Within.holds(held) })
	}
}

// breakable looks for a standstill: every connection is held by a callback in which a request waits. It returns the request whose connection is held
// by the callback around the youngest of those that wait. It returns nil if there is no standstill.
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

// fail ends, with err, the wait of all requests for which hopeless is true, and returns their number.
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
