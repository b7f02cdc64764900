package lmitest

import (
	"context"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/gostack"
)

// graceToStop is how long the goroutines of handlers may go on after the last handler has returned. On a busy machine a goroutine that is about to end
// may need some of that.
const graceToStop = 500 * time.Millisecond

// stragglerLabel is the key of a profiler label, which the goroutines that a handler starts have too.
const stragglerLabel = "lmitest_call"

// labelled calls f in a goroutine that has the label id.
func labelled(ctx context.Context, id string, f func(context.Context)) {
	pprof.Do(ctx, pprof.Labels(stragglerLabel, id), f)
}

// findStragglers reports the goroutines of handlers that go on after graceToStop, if they run code of the tested module. (A goroutine of net/http or of a
// pool may well outlive the invocation in which it was started.)
func (c *Checker) findStragglers(id string) {
	began := time.Now()
	for {
		left := stragglers(stragglerLabel, id)
		if len(left) == 0 {
			return
		}
		if time.Since(began) > graceToStop {
			for _, stack := range left {
				c.report("a goroutine of a handler goes on after the handler has returned", stack)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lateness says where a handler is when its deadline comes.
type lateness struct {
	timer *time.Timer
	found chan [][]string
}

// invocationLabel is the key of a label that the goroutines of one invocation have, beside stragglerLabel.
const invocationLabel = "lmitest_invocation"

// watch labels this goroutine, and looks at the invocation's goroutines after d.
func (l *lateness) watch(ctx context.Context, id string, d time.Duration) context.Context {
	ctx = pprof.WithLabels(ctx, pprof.Labels(invocationLabel, id))
	pprof.SetGoroutineLabels(ctx) // until labelled returns
	l.found = make(chan [][]string, 1)
	l.timer = time.AfterFunc(d, func() { l.found <- stragglers(invocationLabel, id) })
	return ctx
}

// place returns where the handler was, from the first line of its own code. It returns nil if the handler was in time, or returned before anybody looked.
func (l *lateness) place() []string {
	if l.timer == nil || l.timer.Stop() {
		return nil
	}
	for _, stack := range <-l.found {
		return stack[slices.IndexFunc(stack, func(line string) bool { return isTested(line[strings.LastIndex(line, " ")+1:]) }):]
	}
	return nil
}

// isTested reports whether function is code of the tested module.
func isTested(function string) bool {
	return strings.HasPrefix(function, testedModule()) || strings.HasPrefix(function, "main.")
}

// testedModule returns the path of the module whose tests run.
var testedModule = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Path
	}
	return ""
})

// stragglers returns the stacks of the goroutines whose label key is id, as "file:line function".
func stragglers(key, id string) (stacks [][]string) {
	var profile strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1) // a strings.Builder never fails
	for one := range strings.SplitSeq(profile.String(), "\n\n") {
		if !strings.Contains(one, `"`+key+`":"`+id+`"`) {
			continue
		}
		var lines []string
		ours := false
		for frame := range strings.Lines(one) { // "#	0x4a6f24	main.handler+0x44	/src/main.go:12", with more tabs
			part := strings.FieldsFunc(frame, func(r rune) bool { return r == '\t' || r == '\n' })
			if len(part) != 4 {
				continue
			}
			if function := part[2][:max(0, strings.LastIndex(part[2], "+0x"))]; !gostack.Hidden(function) {
				lines = append(lines, part[3]+" "+function)
				ours = ours || isTested(function)
			}
		}
		if ours {
			stacks = append(stacks, lines)
		}
	}
	slices.SortFunc(stacks, slices.Compare)
	return stacks
}
