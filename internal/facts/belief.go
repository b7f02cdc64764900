package facts

import "time"

// Belief is by what a connection was handed on without a reset: by facts that say that its user has left nothing. A change of the
// catalogs ends them, and is noticed up to a second later: until then a trigger that is new may have set something. So the
// connection remembers when it was handed on like that. Once it is known that the facts were wrong, or a second later if
// nobody has asked since whether they are right, it is to be reset in front of its next user's first flight. The zero value is for a
// connection that was reset since, or is new.
type Belief struct {
	at   int64  // when, the last time, in nanoseconds
	turn uint64 // how often the facts had turned out to be wrong
}

// Note notes that the connection is handed on without a reset, by f; nil: nothing is known, so nothing is believed.
func (b *Belief) Note(f *Facts) {
	if f == nil || f.signedAt.Load() == 0 {
		return
	}
	if b.at == 0 {
		b.turn = f.turns.Load()
	}
	b.at = time.Now().UnixNano()
}

// MayBeWrong reports whether an earlier user may have left something after all.
func (b *Belief) MayBeWrong(f *Facts) bool {
	if f == nil || b.at == 0 {
		return false
	}
	right := f.signedAt.Load()
	return b.turn != f.turns.Load() || right < b.at && time.Now().UnixNano()-right > int64(maxProofAge)
}
