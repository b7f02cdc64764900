package member

import "time"

// SetDue makes the next poll due at at.
func (m *Member) SetDue(at time.Time) { m.dueAt.Store(at.UnixNano()) }

// NextDue returns when the next poll is due, and whether one is to come.
func (m *Member) NextDue() (time.Time, bool) {
	at := m.dueAt.Load()
	return time.Unix(0, at), at != 0
}
