package member

import (
	"math/rand/v2"
	"time"
)

// With fewer connections than environments each pool has one connection at most, and some have none: the server refuses their dials. So the pools take
// turns. After a turn a pool gives its connection up as soon as nobody uses it, and for a rest it dials none, while those that have none try: each tries
// every 0.4 to 0.8 s. If the pool's next dial is not refused, nobody has tried, so its next turn is twice as long.
const (
	leastTurn = 2 * time.Second // each turn and each rest has a random part of the same length
	mostTurn  = 32 * time.Second
	leastRest = 500 * time.Millisecond
)

// turns is what a Member knows of its turns.
type turns struct {
	short  time.Time     // until when the budget counts as too small for one more environment
	end    time.Time     // when this pool's turn ends; zero if it does not end
	length time.Duration // of the next turn
	rests  bool          // the pool has given its place to others
}

func newTurns() turns { return turns{length: leastTurn} }

// beShort notes a count that has seen no connection for one more environment.
func (t *turns) beShort(until time.Time) { t.short = until }

// wanted notes that another environment has got the place that this pool wanted.
func (t *turns) wanted() { t.length = leastTurn }

// takesTurns ends m's turn if it is over.
func (m *Member) takesTurns(now time.Time) {
	t := &m.turns
	switch {
	case !m.isShort(now):
		t.end = time.Time{}
	case t.end.IsZero():
		t.end = now.Add(t.length + rand.N(t.length))
	case now.After(t.end):
		t.end, t.rests, t.length = time.Time{}, true, min(2*t.length, mostTurn)
		time.AfterFunc(leastRest+rand.N(leastRest), m.resume)
	}
}

// resume ends m's rest.
func (m *Member) resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns.rests = false
	m.apply(m.at(time.Now()))
}

// isShort reports whether the budget had no connection for one more environment at a count of late. How many environments have none is not known, since
// nobody can count them, and while some rest there are fewer than the budget allows.
func (m *Member) isShort(now time.Time) bool { return m.off == nil && now.Before(m.turns.short) }

// Short reports whether a connection that is idle for a moment should be closed, since another environment may have none.
func (m *Member) Short(now time.Time) bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.isShort(m.at(now))
}
