package catalog

import (
	"maps"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/memrows"
)

// Why a statement that found no idle connection went alone: the keys of pool.LaneStat.Alone.
const (
	AloneAsked   = "asked"      // Alone(ctx), or its invocation holds a lease or a transaction, or it is inside InTx
	AloneArgs    = "arguments"  // a mode, result formats, a rewriter of the user's, or not to be encoded
	AloneText    = "text"       // not a read, by its text
	AloneCalls   = "function"   // calls what is not known to be harmless
	AloneNew     = "new"        // not known yet
	AloneSlow    = "slow"       // usually takes longer than Slow
	AloneLarge   = "large"      // usually has a result of more than Large
	AloneGuarded = "guard"      // the guard stopped it once: it writes
	AloneWith    = "settings"   // of With's settings one is PostgreSQL's own
	AloneOnly    = "no company" // nobody else was waiting to ride
)

const (
	// Slow is how long a statement may take on the server, on average, to ride: those behind it wait that long.
	Slow = 10 * time.Millisecond
	// Large is how many bytes a result may have, on average, and the arguments, to ride. A result that is bigger than
	// memrows.MaxResult is dropped, and its statement runs alone from then on.
	Large = 64 << 10
)

// pace is how a statement usually goes.
type pace struct {
	took  time.Duration // on the server: each run counts for an eighth
	known bool
	size  int // of its results in bytes, a moving average
}

func (p *pace) observe(took time.Duration, size int) {
	took = max(0, took)
	if !p.known { // a hiccup of the first is not the last word
		p.took, p.known = took/2, true
	} else {
		p.took += (took - p.took) / 8
	}
	switch {
	case size > memrows.MaxResult:
		p.size = size
	case size >= 0 && p.size <= memrows.MaxResult:
		p.size += (size - p.size) / 8
	}
}

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
