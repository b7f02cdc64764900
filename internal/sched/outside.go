package sched

// outside are connections that somebody else dials, and that count under the ceiling like the scheduler's own: those of the pool's companion. Each has a
// place, from the beginning of its dial until the server has let go of it.
type outside struct {
	kept int           // how many places Reserve keeps for them
	open int           // how many of them are open, being dialed, or waiting for a place
	used int           // how many places they have, those that are being closed included
	room chan struct{} // is closed when there may be a place; nil if nobody waits
}

// most returns how many places of n they may have. One is left to the scheduler.
func (o *outside) most(n int) int { return max(0, min(max(o.kept, o.open), n-1)) }

// takes returns how many places of n the scheduler does not have because of them.
func (o *outside) takes(n int) int { return max(o.most(n), o.used) }
