package sched

import "slices"

// NestedError is what those get in a standstill who could never be served. All connections are held then, and everybody who holds
// one waits for another. PostgreSQL cannot see it, and that somebody waits who holds one is no sign of it: of three goroutines of an
// invocation one may work while two wait. It is certain, and broken at once, if every connection is held by a callback and with the ctx of each
// somebody waits: the callback cannot be over before. Every other kind (of what is held outside a callback; across two pools) lasts
// until a deadline.
type NestedError struct {
	Held *Request // by the callback in which it was asked for
}

func (*NestedError) Error() string { return "all connections are held by those who wait for another" }

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
