package fleet

// Settled returns how many connections each of n environments may have that have counted each other, of a role's CONNECTION LIMIT.
// The root's Plan asks it.
func Settled(limit, n int) int { return budget{free: limit, hard: true}.settled(n) }
