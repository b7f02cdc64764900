package lmitest

// recentIDs remembers the ids of the last 1000 invocations that timed out, as many as AWS's emulator.
type recentIDs struct {
	known map[string]bool
	order []string // used as a ring when it is full
	next  int
}

const maxRecentIDs = 1000

func (r *recentIDs) add(id string) {
	if r.known == nil {
		r.known = make(map[string]bool)
	}
	if len(r.order) < maxRecentIDs {
		r.order = append(r.order, id)
	} else {
		delete(r.known, r.order[r.next])
		r.order[r.next] = id
		r.next = (r.next + 1) % maxRecentIDs
	}
	r.known[id] = true
}

// take reports whether id is in r, and removes it.
func (r *recentIDs) take(id string) bool {
	known := r.known[id]
	delete(r.known, id)
	return known
}
