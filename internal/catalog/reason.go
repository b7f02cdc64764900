package catalog

import (
	"maps"
	"sync"
)

// Why a statement that found no idle connection went alone: the keys of pool.Stat.AloneCount.
const (
	AloneAsked   = "asked"      // Alone(ctx), or its invocation holds a lease or a transaction, or it is inside InTx
	AloneArgs    = "arguments"  // a mode, result formats, a rewriter of the user's, or not to be encoded
	AloneText    = "text"       // not a read, by its text
	AloneCalls   = "function"   // calls what is not known to be harmless
	AloneNew     = "new"        // not known yet
	AloneSlow    = "slow"       // usually takes longer than 10 ms
	AloneLarge   = "large"      // usually has a large result
	AloneGuarded = "guard"      // the guard stopped it once: it writes
	AloneWith    = "settings"   // of With's settings one is PostgreSQL's own
	AloneOnly    = "no company" // nobody else was waiting to ride
)

// Reasons counts them. The zero value is ready.
type Reasons struct {
	mu sync.Mutex
	n  map[string]int64
}

// Count counts a statement that goes alone because of why.
func (r *Reasons) Count(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == nil {
		r.n = make(map[string]int64)
	}
	r.n[why]++
}

// All returns how many there were of each.
func (r *Reasons) All() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.n)
}
