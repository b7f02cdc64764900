package gostack

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mark marks the goroutine of one handler call, so that the log of a handler that hangs can say where. It costs nothing until the stacks are needed: its
// address is in them, as an argument of Run. (Labels of package runtime/pprof would do too, but that package makes each handler's binary 0.25 MB larger.)
type Mark struct{ _ byte }

// Run calls f. While f runs, [Mark.StacksIn] finds the calling goroutine.
//
//go:noinline
func (m *Mark) Run(f func()) {
	f()
	runtime.KeepAlive(m) // so that the runtime shows m's address, and not what is left in its place
}

// StacksIn returns what the goroutine that m marks does according to stacks, and what the goroutines do that it has started, directly or not: the user's
// frames as a Site's Lines, once for all goroutines that do the same. A goroutine is not found if the one that has started it has ended.
func (m *Mark) StacksIn(stacks string) (found [][]string) {
	marked := fmt.Sprintf("%s/internal/gostack.(*Mark).Run(%p,", module, m)
	ours := map[string]bool{} // the numbers of the goroutines
	all := strings.Split(stacks, "\n\n")
	for more := true; more; {
		more = false
		for i, one := range all {
			number, lines, parent := parse(one)
			if !ours[parent] && !strings.Contains(one, marked) {
				continue
			}
			ours[number], all[i], more = true, "", true
			if lines != nil && !slices.ContainsFunc(found, func(have []string) bool { return slices.Equal(have, lines) }) {
				found = append(found, lines)
			}
		}
	}
	return found
}

// parse returns the number of the goroutine whose stack is one, the user's frames, and the number of the goroutine that has started it. The text is that
// of runtime.Stack: "goroutine 7 [select]:", then for each frame "main.f(0x1, ...)" and "\t/src/main.go:12 +0x1d", and "created by main.g in goroutine 1"
// with the place of the go statement.
func parse(one string) (number string, lines []string, parent string) {
	text := strings.Split(strings.TrimSpace(one), "\n")
	number, _, _ = strings.Cut(strings.TrimPrefix(text[0], "goroutine "), " ")
	for i := 1; i+1 < len(text); i += 2 {
		if created, ok := strings.CutPrefix(text[i], "created by "); ok {
			_, parent, _ = strings.Cut(created, " in goroutine ")
			break
		}
		place, _, _ := strings.Cut(strings.TrimPrefix(text[i+1], "\t"), " ")
		if function := text[i][:max(0, strings.LastIndexByte(text[i], '('))]; function != "" && !Hidden(function) {
			lines = append(lines, place+" "+function)
		}
	}
	return number, lines, parent
}

// Profiler takes the stacks of all goroutines, once for all callers that want them at the same time. That stops the process for milliseconds; and if 32
// handlers overrun together, the replies that are sent in their place must not wait for 32 of them.
type Profiler struct {
	mu    sync.Mutex
	began time.Time
	text  string
}

const mostStacks = 64 << 20 // bytes; goroutines beyond are not found

// Since returns stacks that were taken after t.
func (p *Profiler) Since(t time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.began.After(t) {
		p.began = time.Now()
		for size := 1 << 20; ; size *= 2 {
			b := make([]byte, size)
			if n := runtime.Stack(b, true); n < size || size >= mostStacks {
				p.text = string(b[:n])
				break
			}
		}
	}
	return p.text
}
