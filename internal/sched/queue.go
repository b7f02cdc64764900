package sched

// queue is a list in order of arrival, from which one can leave anywhere.
type queue struct {
	group      int // how many travel together at most
	head, tail *Request
	len        int
	sharing    int // of len, those who may travel with others
	inside     int // of len, those who wait inside a callback
}

// turns is how often a connection must come free for the queue to be empty.
func (q *queue) turns() int {
	return q.len - q.sharing + (q.sharing+q.group-1)/q.group
}

// next is how many one more connection would take from the queue at once.
func (q *queue) next() int {
	if q.head == nil || q.head.Share == nil {
		return min(q.len, 1)
	}
	return min(q.sharing, q.group)
}

// isDecided reports whether it makes no difference to the next group who else comes: as many
// wait as it can take, or a request for a connection of its own is next and there is no group.
func (q *queue) isDecided() bool {
	return q.sharing >= q.group || q.head != nil && q.head.Share == nil
}

func (q *queue) push(r *Request, first bool) {
	r.queued = true
	q.count(r, 1)
	switch {
	case q.head == nil:
		q.head, q.tail = r, r
	case first:
		r.next, q.head.prev = q.head, r
		q.head = r
	default:
		r.prev, q.tail.next = q.tail, r
		q.tail = r
	}
}

// remove reports whether r was still queued.
func (q *queue) remove(r *Request) bool {
	if !r.queued {
		return false
	}
	r.queued = false
	q.count(r, -1)
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		q.head = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		q.tail = r.prev
	}
	r.prev, r.next = nil, nil
	return true
}

func (q *queue) count(r *Request, n int) {
	q.len += n
	if r.Share != nil {
		q.sharing += n
	}
	if r.Within != nil {
		q.inside += n
	}
}
