package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// progress writes a counter if w is a terminal, and nothing otherwise.
type progress struct {
	w     *os.File // nil: silent
	total int

	mu   sync.Mutex
	done int
	last time.Time
}

const progressEvery = 200 * time.Millisecond

func newProgress(w *os.File, total int) *progress {
	p := &progress{total: total, last: time.Now()}
	if info, err := w.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		p.w = w
	}
	return p
}

func (p *progress) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if p.w != nil && time.Since(p.last) >= progressEvery {
		p.last = time.Now()
		fmt.Fprintf(p.w, "\r%d of %d ", p.done, p.total)
	}
}

func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
