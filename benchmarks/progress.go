package main

import (
	"fmt"
	"os"
	"time"
)

// progress shows how far the run is: one line that changes if w is a terminal, a line for each round otherwise.
type progress struct {
	f        *os.File
	terminal bool
	rounds   int
	total    int // how many measurements the run has
	done     int
	round    int // the last round that was shown
	began    time.Time
}

func newProgress(f *os.File) *progress {
	info, err := f.Stat()
	return &progress{f: f, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0, round: -1}
}

func (p *progress) begin(o options, groups []group) {
	for _, g := range groups {
		p.total += len(g.all())
	}
	p.rounds, p.total = o.rounds, p.total*o.rounds
	p.began = time.Now()
	each := o.timing.warmup + o.timing.duration
	_, _ = fmt.Fprintf(p.f, "%d measurements of %v, each after %v of warm-up: at least %v\n",
		p.total, o.timing.duration, o.timing.warmup, (time.Duration(p.total) * each).Round(time.Second))
}

// next shows that a measurement begins.
func (p *progress) next(round int, c cell) {
	since := time.Since(p.began).Round(time.Second)
	switch {
	case p.terminal:
		_, _ = fmt.Fprintf(p.f, "\r\x1b[K%d/%d, %v: round %d/%d, %s", p.done+1, p.total, since, round+1, p.rounds, c.name())
	case round != p.round:
		_, _ = fmt.Fprintf(p.f, "round %d/%d, after %v\n", round+1, p.rounds, since)
	}
	p.done, p.round = p.done+1, round
}

func (p *progress) end() {
	if p.terminal {
		_, _ = fmt.Fprint(p.f, "\r\x1b[K")
	}
}
