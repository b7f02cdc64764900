package fleet

// Settled returns how many connections each of n environments may have that have counted each other, of a budget that is also the role's CONNECTION
// LIMIT. The root's Plan asks it.
func Settled(budget, n int) int { return settled(budget, n, true) }
