package gostack

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync"
	"time"
)

// Label marks the goroutine of one handler call, and those that it starts, so that the log of a handler that hangs can say
// where. It is a profiler label: the one way to find another goroutine's stack that costs next to nothing until it is needed.
// It names lmipool's handlers in goroutine profiles besides.
type Label struct {
	ctx  context.Context
	line string // as a goroutine profile shows it
}

const labelKey = "lmipool_run"

// NewLabel makes the one for id, a pointer that no other has at the same time.
func NewLabel(id any) Label {
	value := fmt.Sprintf("%p", id)
	return Label{
		ctx:  pprof.WithLabels(context.Background(), pprof.Labels(labelKey, value)),
		line: fmt.Sprintf("%q:%q", labelKey, value),
	}
}

// Set marks the calling goroutine.
func (l Label) Set() { pprof.SetGoroutineLabels(l.ctx) }

// StacksIn is what the marked goroutines do according to profile, one text for all that do the same.
func (l Label) StacksIn(profile string) (stacks []string) {
	for one := range strings.SplitSeq(profile, "\n\n") {
		if strings.Contains(one, l.line) {
			stacks = append(stacks, one)
		}
	}
	return stacks
}

// Profiler takes goroutine profiles, one for all who want one at the same time: a profile costs milliseconds, and when 32
// handlers overrun together, that is just when the replies in their place have to get out.
type Profiler struct {
	mu    sync.Mutex
	began time.Time
	text  string
}

// Since returns a profile that was taken after t.
func (p *Profiler) Since(t time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.began.After(t) {
		p.began = time.Now()
		var text strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&text, 1) // fails only if text does, which never does
		p.text = text.String()
	}
	return p.text
}
