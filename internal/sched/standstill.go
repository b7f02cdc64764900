package sched

import "slices"

// A standstill: all connections are held, and everybody who holds one waits for
// another. It is certain, and broken at once, if every connection is held by a callback
// and with the ctx of each somebody waits: the callback cannot be over before. Every other kind
// (of what is held outside a callback; across two pools) lasts until a deadline.

// NestedError is what the youngest of those gets who could never be served.
type NestedError struct {
	Held *Request // by the callback in which it was asked for
}

func (*NestedError) Error() string {
	return "all connections are held by those who wait for another"
}

// allAwaited reports whether each connection is held by a callback in which somebody waits.
func allAwaited(q *queue, s *stock) bool {
	awaited := make(map[*Request]bool)
	for r := q.head; r != nil; r = r.next {
		for w := r.Within; w != nil; w = w.Outer {
			awaited[w.Holds] = true
		}
	}
	return !slices.ContainsFunc(s.all, func(c *Conn) bool { return !awaited[c.holder] })
}

// youngestNested is the youngest who waits inside a callback that holds a connection, and what holds it; nil: nobody.
func youngestNested(q *queue, s *stock) (r, held *Request) {
	for r := q.tail; r != nil; r = r.prev {
		for _, c := range s.all {
			if r.Within.holds(c.holder) {
				return r, c.holder
			}
		}
	}
	return nil, nil
}
