package catalog

import (
	"time"

	"github.com/lmipool/lmipool/internal/memrows"
)

const (
	// Slow is how long a statement may take on the server, on average, to ride:
	// those behind it wait that long.
	Slow = 10 * time.Millisecond

	// Large is how big a result may be in bytes, on average, to ride, and how big the arguments. A result that is bigger than
	// memrows.MaxResult is dropped, and its statement runs alone from then on.
	Large = 64 << 10
)

// pace is how statements usually go.
type pace struct {
	took  time.Duration // on the server: each run counts for an eighth
	known bool
	size  int // of results in bytes, a moving average
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
