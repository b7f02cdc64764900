package catalog

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/memrows"
)

// Why a statement that found no idle connection went alone: the keys of pool.LaneStat.Alone.
const (
	AloneAsked   = "asked"      // Alone(ctx), or its invocation holds a lease or a transaction, or it is inside InTx
	AloneArgs    = "arguments"  // it has a mode, result formats or a rewriter, or its arguments cannot be encoded
	AloneText    = "text"       // its text is not a read
	AloneCalls   = "function"   // it calls something that is not known to be harmless
	AloneNew     = "new"        // it is not known yet
	AloneSlow    = "slow"       // it usually takes longer than Slow
	AloneLarge   = "large"      // its result usually has more than Large bytes
	AloneGuarded = "guard"      // the guard once stopped it from writing
	AloneWith    = "settings"   // one of the settings of With is PostgreSQL's own
	AloneOnly    = "no company" // nobody else was waiting to ride
)

const (
	// Slow is the time that a statement that rides may take on the server, on average. Rides behind it wait that long.
	Slow = 10 * time.Millisecond
	// Large is how many bytes the results of a statement that rides may have on average, and its arguments each time. A result of more than
	// memrows.MaxResult bytes is dropped, and its statement runs alone from then on.
	Large = 64 << 10
)

// pace has moving averages, in which a run counts for an eighth: of the time that a statement takes on the server, and of its results' bytes.
type pace struct {
	took  time.Duration
	known bool // took is known
	size  int
}

func (p *pace) observe(took time.Duration, size int) {
	took = max(0, took)
	if !p.known { // the first run counts for half, because it may be slow by chance
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

var reasons = [...]string{
	AloneAsked, AloneArgs, AloneText, AloneCalls, AloneNew, AloneSlow, AloneLarge, AloneGuarded, AloneWith, AloneOnly,
}

// Reasons counts for each reason how many statements went alone. Its methods may be called by several goroutines at once.
type Reasons [len(reasons)]atomic.Int64

// Count counts a statement that goes alone because of why.
func (r *Reasons) Count(why string) { r[slices.Index(reasons[:], why)].Add(1) }

// All returns the counts that are not 0.
func (r *Reasons) All() map[string]int64 {
	all := make(map[string]int64)
	for i, why := range reasons {
		if n := r[i].Load(); n > 0 {
			all[why] = n
		}
	}
	return all
}
